package chatclient

// SetMostWaiting makes all Clients that are dialled from now on keep so many bytes of live messages.
func SetMostWaiting(n int) (undo func()) {
	before := mostWaiting
	mostWaiting = n
	return func() { mostWaiting = before }
}
