//go:build !linux

package engine

// unacknowledged returns 0, because this system does not tell how many bytes the peer has not taken.
func unacknowledged(int) int { return 0 }

// wasReset reports whether the peer has reset the connection, while something is unacknowledged.
func wasReset(int) bool { return false }
