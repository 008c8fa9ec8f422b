//go:build !linux || poll_opt

package gnetloop

import (
	"errors"

	"github.com/panjf2000/gnet/v2"
)

// Runner knows which goroutine runs a loop.
type Runner struct{}

// GoOn says that the loop cannot be run on: on this system it was not tried what a loop of gnet's leaves behind.
func (r *Runner) GoOn(gnet.EventLoop) error { return errors.ErrUnsupported }
