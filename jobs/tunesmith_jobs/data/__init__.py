"""Operations on data sets, as streams over files of rows."""
