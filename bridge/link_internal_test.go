package bridge

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

var kept usermgr.Link

// A user who is idle pays for the connection, and nothing for the link to it.
func TestALinkIsTheConnectionItself(t *testing.T) {
	var k engine.Control
	if n := testing.AllocsPerRun(100, func() { kept = link{k} }); n != 0 {
		t.Errorf("a link takes %v allocations", n)
	}
	if kept != usermgr.Link(link{k}) {
		t.Error("two links to one connection differ")
	}
}

// A logon's context behaves as one of package context, whether it is waited for before its end, after it, or not at all.
func TestALogonsContextEndsForAllWhoAsk(t *testing.T) {
	why := protocol.Errorf(protocol.NetworkError, "gone")
	for name, before := range map[string]func(c *lazyContext) context.Context{
		"not asked before": func(c *lazyContext) context.Context { return c },
		"waited for": func(c *lazyContext) context.Context {
			c.Done()
			return c
		},
		"a child": func(c *lazyContext) context.Context {
			child, cancel := context.WithTimeout(c, time.Hour)
			t.Cleanup(cancel)
			return child
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &lazyContext{deadline: 1}
			ctx := before(c)
			if err := ctx.Err(); err != nil {
				t.Errorf("before the end Err is %v", err)
			}
			c.end(why)
			c.end(errors.New("a second end"))
			select {
			case <-ctx.Done():
			default:
				t.Error("Done is open after the end")
			}
			if err := ctx.Err(); err != context.Canceled {
				t.Errorf("Err is %v", err)
			}
			if err := context.Cause(ctx); err != why {
				t.Errorf("Cause is %v", err)
			}
			if _, ok := ctx.Deadline(); !ok {
				t.Error("no deadline")
			}
		})
	}
	c := new(lazyContext)
	if c.end(nil); context.Cause(c) != context.Canceled {
		t.Errorf("without a cause it is %v", context.Cause(c))
	}
}

// Whoever sees that a logon's context has ended sees why: also at the moment between the end and the end of what was waited for.
func TestALogonsContextHasNoEndWithoutItsCause(t *testing.T) {
	why := protocol.Errorf(protocol.NetworkError, "gone")
	c := new(lazyContext)
	c.Done()
	cancel := c.cancel
	c.cancel = func(cause error) {
		if c.Err() != nil && context.Cause(c) != why {
			t.Errorf("it has ended, and the cause is %v", context.Cause(c))
		}
		cancel(cause)
	}
	c.end(why)
	if err := context.Cause(c); c.Err() == nil || err != why {
		t.Errorf("after the end Err is %v and Cause %v", c.Err(), err)
	}
}
