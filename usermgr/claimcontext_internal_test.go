package usermgr

import (
	"context"
	"errors"
	"testing"
)

// Rule 20: a claim that is given up twice at the same time ends for the first reason, whichever of the two ends its context.
func TestAClaimsContextEndsForTheFirstReason(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	c := &claimContext{Context: t.Context()}
	c.ask()
	cancel := c.cancel
	c.cancel = func(why error) {
		c.cancel = cancel
		c.giveUp(second) // before the first has ended the context
		cancel(why)
	}
	c.giveUp(first)
	if err := context.Cause(c); err != first {
		t.Errorf("it has ended for %v", err)
	}
}
