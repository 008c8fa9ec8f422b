// Package storetest has tests that every implementation of chat.Store must pass.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) chat.Store { … })
//	}
package storetest

import (
	"testing"

	"github.com/rollcall-go/rollcall/chat"
)

// Reopener is implemented by the stores that open returns when they keep their contents across a restart. The suite then also tests that they do.
type Reopener interface {
	chat.Store
	// Reopen closes the store and returns a new one with the same contents.
	Reopen(t *testing.T) chat.Store
}

// Run runs the suite. open returns an empty store, for each test another, and has it closed at the end of t.
func Run(t *testing.T, open func(t *testing.T) chat.Store) {
	for _, group := range [][]test{users, presences, contacts, groups, members, posts, repeats, recalls, anonymous, pages, conversations, parallel, contexts} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) { c.run(newSuite(t, open(t))) })
		}
	}
}

// test is one test of the suite.
type test struct {
	name string
	run  func(s *suite)
}
