package testkit

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// IP runs the system's ip command, for networks of a test's own. That needs root.
func IP(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// InNamespace calls f on a thread of its own, in a network namespace that IP has made, and waits until f returns. The sockets that f opens
// stay in that namespace, whichever goroutine uses them. f must open them on its own goroutine.
func InNamespace(name string, f func() error) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		ended <- err
	}()
	return <-ended
}
