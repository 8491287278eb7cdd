"""Who did what to what: noted with what is changed, kept, shown to administrators."""
