"""Data sets: names with numbered versions, uploads, reports on files, and rows under the microscope."""
