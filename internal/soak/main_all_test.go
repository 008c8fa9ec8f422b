package soak

// raced says that the race detector runs, under which memory is another matter.
var raced bool
