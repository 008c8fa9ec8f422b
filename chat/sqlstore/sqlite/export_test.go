package sqlite

// OpenWith is Open with further settings of the connection that writes.
var OpenWith = open
