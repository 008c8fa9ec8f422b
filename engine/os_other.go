//go:build !linux

package engine

// unacknowledged returns how many bytes the kernel holds that the peer has not taken: where it cannot be asked, none.
func unacknowledged(int) int { return 0 }

// wasReset reports whether the peer has reset the connection, while something is unacknowledged.
func wasReset(int) bool { return false }
