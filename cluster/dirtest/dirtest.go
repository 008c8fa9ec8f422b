// Package dirtest has tests that every implementation of cluster.Directory must pass.
//
//	func TestDirectory(t *testing.T) {
//		dirtest.Run(t, func(t *testing.T) dirtest.Store { … })
//	}
package dirtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
)

// Store is a Directory that a test may restart.
type Store struct {
	cluster.Directory
	// Restart has the store lose everything, as a restart without persistence does. It returns when the store answers again.
	Restart func()
}

// Run runs the suite. open returns an empty store, for each test another.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, c := range []struct {
		name string
		test func(s *suite)
	}{
		{"ARecordIsWrittenOverTheVersionThatWasRead", (*suite).records},
		{"VersionsGrowAcrossRemovals", (*suite).versions},
		{"OfWritersOfOneVersionOneWins", (*suite).contention},
		{"AllCallsForARecordHaveOneOrder", (*suite).linear},
		{"EachRecordIsListedOnce", (*suite).walk},
		{"UsersWhoAreNotOnlineAreNotCounted", (*suite).uncounted},
		{"TheCountIsRightAfterManyWrites", (*suite).counter},
		{"ANodeThatWasBuriedIsDeadForGood", (*suite).burial},
		{"ANodeIsBuriedOnlyWithTheRenewalsThatWereSeen", (*suite).lateBurial},
		{"AJoinBuriesTheFormerLife", (*suite).former},
		{"ANodeThatLeavesIsDead", (*suite).leaves},
		{"ADeadNodeIsInTheTableUntilItIsSwept", (*suite).swept},
		{"ARestartedStoreGrantsNothing", (*suite).recovering},
		{"AStoreRecoversWhenAllItKnowsAreReady", (*suite).recovers},
		{"ANodeThatDoesNotComeIsBuriedWhenItIsOverdue", (*suite).overdue},
		{"ANodeThatOthersHaveSeenDeadStaysDead", (*suite).handedAlong},
		{"ANewcomerWaitsUntilTheStoreHasRecovered", (*suite).newcomer},
		{"VersionsGrowAcrossARestart", (*suite).floor},
		{"ALostNumberIsNotGivenOutAgain", (*suite).lostNumber},
		{"AStoreRecoversWhenANodeComesBackWithSessions", (*suite).opened},
		{"ADeadNodeThatComesBackWithSessionsGetsANewNumber", (*suite).openedDead},
		{"ASweptNodeThatComesBackWithSessionsGetsANewNumber", (*suite).openedSwept},
		{"ANodeComesBackWithSessionsToAStoreThatHasLostItsTable", (*suite).openedLost},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newSuite(t, open(t))) })
	}
}

// suite is one test.
type suite struct {
	t     *testing.T
	store Store
	ctx   context.Context
	epoch string
}

// member is what the nodes of the suite say of themselves.
var member = cluster.Member{Name: "node", Policy: "p"}

// newSuite has the store recover from having been started.
func newSuite(t *testing.T, store Store) *suite {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	s := &suite{t: t, store: store, ctx: ctx}
	me := s.join()
	s.noError(store.Leave(ctx, me))
	s.epoch = s.table().Epoch
	return s
}

func (s *suite) noError(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) is(err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Fatalf("the error is %v, want %v", err, want)
	}
}

func (s *suite) table() cluster.View {
	s.t.Helper()
	v, err := s.store.Table(s.ctx)
	s.noError(err)
	return v
}

// join joins, as the first node where the store recovers.
func (s *suite) join() cluster.Incarnation {
	s.t.Helper()
	v := s.table()
	var o cluster.JoinOptions
	if !v.Armed {
		o.Bootstrap = v.Stamp
	}
	me, err := s.store.Join(s.ctx, member, o)
	s.noError(err)
	return me
}

// renew renews, and returns the node's row and the table.
func (s *suite) renew(me cluster.Incarnation) (cluster.MemberState, cluster.View) {
	s.t.Helper()
	v, err := s.store.Renew(s.ctx, me, member, 0)
	s.noError(err)
	row, ok := rowOf(v, me)
	if !ok || row.Dead || row.Member != member {
		s.t.Fatalf("node %d renewed, and its row is %+v", me, row)
	}
	return row, v
}

func rowOf(v cluster.View, inc cluster.Incarnation) (cluster.MemberState, bool) {
	for _, m := range v.Members {
		if m.Incarnation == inc {
			return m, true
		}
	}
	return cluster.MemberState{}, false
}

// dead reports whether the table says that a node is dead.
func dead(v cluster.View, inc cluster.Incarnation) bool {
	highest := cluster.Incarnation(0)
	for _, m := range v.Members {
		highest = max(highest, m.Incarnation)
	}
	row, ok := rowOf(v, inc)
	return row.Dead || !ok && inc < highest
}

func (s *suite) options() cluster.SwapOptions { return cluster.SwapOptions{Epoch: s.epoch} }

func (s *suite) swap(user string, prev cluster.Version, body string) cluster.Version {
	s.t.Helper()
	v, err := s.store.Swap(s.ctx, user, prev, []byte(body), s.options())
	s.noError(err)
	return v
}

// conflict wants an error to be a Conflict with this version and body.
func (s *suite) conflict(err error, version cluster.Version, body string) {
	s.t.Helper()
	var c *cluster.Conflict
	if !errors.As(err, &c) || c.Version != version || string(c.Body) != body {
		s.t.Fatalf("the error is %v, want a conflict with version %d and %q", err, version, body)
	}
}
