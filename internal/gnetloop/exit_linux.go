//go:build !poll_opt

package gnetloop

import (
	"encoding/binary"
	"errors"
	"reflect"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Runner knows which goroutine runs a loop. The zero value is for a loop that gnet has started. Only the loop uses it.
type Runner struct {
	over chan struct{} // closed when the loop has ended; nil while gnet's own goroutine runs it
}

// GoOn makes another goroutine run l, a gnet.EventLoop, by run, gnet's own function. The last deferred function of the goroutine that runs the loop calls it, in a
// Goexit. On gnet's own goroutine it returns when the loop has ended. An error says that the loop cannot go on.
func (r *Runner) GoOn(l any, run func(loop unsafe.Pointer) error) error {
	if err := wakeForTasks(l); err != nil {
		return err
	}
	gnets := r.over == nil
	if gnets {
		r.over = make(chan struct{})
	}
	over := r.over
	go func() {
		_ = run(reflect.ValueOf(l).UnsafePointer()) // gnet has logged an error, and shuts down
		close(over)
	}()
	if gnets {
		<-over
	}
	return nil
}

// wakeForTasks makes the loop check for tasks.
func wakeForTasks(l any) error {
	loop := reflect.Indirect(reflect.ValueOf(l))
	if loop.Kind() != reflect.Struct {
		return errNotGnet
	}
	poller := loop.FieldByName("poller")
	if poller.Kind() != reflect.Pointer {
		return errNotGnet
	}
	fd := poller.Elem().FieldByName("efd")
	if fd.Kind() != reflect.Int {
		return errNotGnet
	}
	one := binary.NativeEndian.AppendUint64(nil, 1)
	_, err := unix.Write(int(fd.Int()), one)
	if errors.Is(err, unix.EAGAIN) { // the eventfd's counter is full of earlier writes
		return nil
	}
	return err
}

var errNotGnet = errors.New("rollcall: this is not the event loop of gnet v2.10.0")
