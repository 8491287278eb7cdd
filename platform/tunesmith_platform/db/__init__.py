"""The database: engine, tables, migrations. Knows rows; knows no rule of what they mean."""
