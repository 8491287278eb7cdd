"""Estimates: what a run will take, by formula and measured."""
