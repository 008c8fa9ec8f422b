//go:build !linux || poll_opt

package gnetloop

import (
	"errors"

	"github.com/panjf2000/gnet/v2"
)

// Runner knows which goroutine runs a loop.
type Runner struct{}

// GoOn returns an error: it was not tested on this system whether a loop of gnet can go on.
func (r *Runner) GoOn(gnet.EventLoop) error { return errors.ErrUnsupported }
