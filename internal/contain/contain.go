// Package contain calls application code so that a panic, or a runtime.Goexit, in it ends only that call. t.FailNow calls Goexit, and so does
// testify's require. Goexit runs the deferred functions as a panic does, but recover returns nil, and the goroutine ends: later
// work needs another goroutine.
package contain

import (
	"fmt"
	"sync"
)

// Exited is the value of a failure that was no panic: the function has called runtime.Goexit.
var Exited any = exited{}

type exited struct{}

func (exited) String() string {
	return "the goroutine was ended by runtime.Goexit, which t.FailNow calls too"
}

// Failure says how a function ended: v is what recover has returned, and returned says whether the function has returned. It
// is nil for a function that has returned, the value of a panic, or Exited.
//
//	returned := false
//	defer func() {
//		if v := contain.Failure(recover(), returned); v != nil {
//			…
//		}
//	}()
//	f()
//	returned = true
func Failure(v any, returned bool) any {
	if v == nil && !returned {
		return Exited
	}
	return v
}

// Call calls f. When f panics, or calls runtime.Goexit, failed is called with the failure, on f's stack. After a panic Call
// returns; after a Goexit the caller's goroutine ends: failed is the last that it does, but for deferred functions.
func Call(f func(), failed func(v any)) {
	returned := false
	defer func() {
		if v := Failure(recover(), returned); v != nil {
			failed(v)
		}
	}()
	f()
	returned = true
}

// Apart calls f on a goroutine of its own and waits for it, so that the caller goes on even when f panics or ends its
// goroutine. It takes about half a microsecond more than a call, and allocates nothing.
func Apart(f func(), failed func(v any)) {
	a := aparts.Get().(*apart)
	a.f, a.failed = f, failed
	go a.run()
	a.mu.Lock()
	for !a.over {
		a.ended.Wait()
	}
	a.over = false
	a.mu.Unlock()
	a.f, a.failed = nil, nil
	aparts.Put(a)
}

// apart is a call of Apart. It is reused.
type apart struct {
	f      func()
	failed func(v any)
	run    func() // call; made once, since a go statement with a receiver allocates

	mu    sync.Mutex
	ended sync.Cond // not a channel, which a synctest bubble would keep for itself
	over  bool
}

var aparts = sync.Pool{New: func() any {
	a := new(apart)
	a.run, a.ended.L = a.call, &a.mu
	return a
}}

// call is a goroutine of its own.
func (a *apart) call() {
	defer a.end()
	Call(a.f, a.failed)
}

func (a *apart) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.ended.Signal()
}

// Error returns an error for a failure of who.
func Error(who string, v any) error {
	if v == Exited {
		return fmt.Errorf("rollcall: %s did not return: %v", who, v)
	}
	return fmt.Errorf("rollcall: %s panicked: %v", who, v)
}

// IsTrusted reports whether v, an engine's Binding, is this module's own, and no code of the application's runs in its methods:
// calls to it need not be kept apart.
func IsTrusted(v any) bool {
	t, ok := v.(interface{ Trusted() bool })
	return ok && t.Trusted()
}

// IsTrustedLink is IsTrusted for a user manager's Link.
func IsTrustedLink(v any) bool {
	t, ok := v.(interface{ TrustedLink() bool })
	return ok && t.TrustedLink()
}
