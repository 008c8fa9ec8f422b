package presence_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// faultyStore is a store of which one call meets a fault.
type faultyStore struct {
	*presence.Memory
	fault func(ctx context.Context, do func() error) error
	left  atomic.Int64 // calls until the fault
}

func (s *faultyStore) call(ctx context.Context, do func() error) error {
	if s.left.Add(-1) != 0 {
		return do()
	}
	return s.fault(ctx, do)
}

func (s *faultyStore) LoadPresence(ctx context.Context, ids []string) (all []presence.Record, err error) {
	err = s.call(ctx, func() (err error) {
		all, err = s.Memory.LoadPresence(ctx, ids)
		return err
	})
	return all, err
}

func (s *faultyStore) SavePresence(ctx context.Context, records []presence.Record) error {
	return s.call(ctx, func() error { return s.Memory.SavePresence(ctx, records) })
}

// Rules P21, P26 and P27: whichever call of the store meets a fault, once, users choose and come and go as without it: watchers are told the same,
// and the same is stored.
func TestAFaultAtEachCallOfTheStore(t *testing.T) {
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for name, fault := range map[string]func(ctx context.Context, do func() error) error{
		"fails":            func(context.Context, func() error) error { return errDown },
		"panics":           func(context.Context, func() error) error { panic("a bug in the store") },
		"hangs":            func(ctx context.Context, _ func() error) error { return hang(ctx) },
		"loses its answer": func(_ context.Context, do func() error) error { return errors.Join(do(), errDown) },
		"hangs when all is stored": func(ctx context.Context, do func() error) error {
			_ = do()
			return hang(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := int64(1); ; n++ {
				s := &faultyStore{Memory: presence.NewMemory(), fault: fault}
				s.left.Store(n)
				cfg := presence.Config{Store: s, Logger: zap.NewNop()}
				if strings.HasPrefix(name, "hangs") {
					cfg.StoreTimeout = 100 * time.Millisecond
				}
				comeAndGo(t, cfg, s)
				if t.Failed() {
					t.Fatalf("with a fault at call %d", n)
				}
				if s.left.Load() > 0 { // there are fewer calls
					return
				}
			}
		})
	}
}

// comeAndGo has bob come, choose and go while ann watches.
func comeAndGo(t *testing.T, cfg presence.Config, s *faultyStore) {
	t.Helper()
	w := newWorld(t, cfg, usermgr.Config{})
	ann := w.logOn("ann")
	served := func(p *peer, op uint8, fields ...string) { // once more after each failure
		t.Helper()
		testkit.Eventually(t, "a request is served", func() bool {
			w.presence.Tick()
			_, err := p.ask(op, nil, fields...)
			if err != nil && code(err) != protocol.HandlerFailed {
				t.Fatalf("rule P26: answered %v", err)
			}
			return err == nil
		})
	}
	var told []string
	knows := func(words string) {
		t.Helper()
		told = append(told, words)
		testkit.Eventually(t, "ann is told: "+words, func() bool {
			w.presence.Tick()
			ann.query()
			return len(ann.notices) >= len(told)
		})
	}
	served(ann, protocol.PresenceWatch)
	testkit.Eventually(t, "ann is seen", func() bool { return w.presence.Visible("ann") == presence.Online })
	w.tick()
	ann.query()
	ann.notices = nil // of herself
	bob := w.logOn("bob")
	knows("bob online")
	served(bob, protocol.PresenceSet, "state", "busy")
	knows("bob busy")
	served(bob, protocol.PresenceSet, "state", "stealth")
	knows("bob offline")
	served(bob, protocol.PresenceSet, "state", "online")
	knows("bob online")
	bob.leave()
	knows("bob offline")
	if !slices.Equal(ann.notices, told) {
		t.Errorf("rule P21: ann is told %q, not %q", ann.notices, told)
	}
	ann.leave()
	w.end() // it stores the rest
	all := s.All()
	if len(all) != 2 {
		t.Fatalf("rule P27: %+v is stored", all)
	}
	for i, user := range []string{"ann", "bob"} {
		if r := all[i]; r.UserID != user || r.Wanted != presence.Online || r.LastOnline.IsZero() || r.LastSeen.Before(r.LastOnline) {
			t.Errorf("rule P27: %+v is stored", r)
		}
	}
}
