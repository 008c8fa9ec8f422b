//go:build !linux || poll_opt

package gnetloop

import (
	"errors"
	"unsafe"
)

// Runner knows which goroutine runs a loop.
type Runner struct{}

// GoOn returns an error: it was not tested on this system whether a loop of gnet can go on.
func (r *Runner) GoOn(any, func(unsafe.Pointer) error) error { return errors.ErrUnsupported }
