"""A reader of the event stream that writes what the guest does as strace(1) would. Imported only for --strace.

`tracer` turns events into lines; `formats` shows one argument by its declared kind, with the help of `structs` (what
a pointer leads to), `calls` (calls whose arguments depend on one another) and `results` (what is said after `=`);
`tables` holds the names of constants. How a call's arguments are shown follows from its declaration alone: a new
call of known kinds needs nothing here.
"""
