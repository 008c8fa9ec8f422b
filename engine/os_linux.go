package engine

import "golang.org/x/sys/unix"

// unacknowledged returns how many bytes the kernel holds that the peer has not taken.
func unacknowledged(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}
