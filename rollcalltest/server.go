// Package rollcalltest runs a whole Rollcall server inside a test, as net/http/httptest does for HTTP.
//
//	srv := rollcalltest.NewServer(t, rollcall.Config{}, func(s *rollcall.Server) {
//		s.Handle(chat, handleChat)
//	})
//	alice := srv.Client(t, "alice", client.Config{})
//	reply, err := alice.Request(t.Context(), chat, []byte("hello"))
//
// The server listens on loopback, on a port of its own, and stops when the test ends.
package rollcalltest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
)

// Server is a running server. Its methods may be called from any goroutine.
type Server struct {
	*rollcall.Server
	// Addr is where the server listens, for client.Dial: "127.0.0.1:49152".
	Addr string

	t      testing.TB
	cancel context.CancelFunc
	ran    chan struct{} // closed when the engine's Run has returned
	runErr error
	stop   sync.Once
	quiet  atomic.Bool // the test may be over: nothing is logged any more
}

// NewServer starts a server. The zero cfg is ready to use and lets every client in. A listener without an address, and a server without
// listeners, listens on a free port of 127.0.0.1; the default of Loops is 2; without a Logger warnings and errors go to the test's log.
//
// setup, when not nil, is called before the server runs, on the caller's goroutine: pass the program's own function that sets message
// handlers and subscribes to events. When the test and its subtests have ended, the server is stopped, as by Stop. NewServer fails the
// test when a setting is invalid or the server cannot listen.
func NewServer(t testing.TB, cfg rollcall.Config, setup func(*rollcall.Server)) *Server {
	t.Helper()
	s := &Server{t: t, ran: make(chan struct{})}
	logger := zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel), zaptest.WrapOptions(zap.WrapCore(s.untilStopped)))
	cfg.Logger = cmp.Or(cfg.Logger, logger)
	cfg.Engine.Listeners = slices.Clone(cfg.Engine.Listeners)
	if len(cfg.Engine.Listeners) == 0 && cfg.Addr == "" {
		cfg.Engine.Listeners = make([]engine.Listener, 1)
	}
	for i := range cfg.Engine.Listeners {
		cfg.Engine.Listeners[i].Addr = cmp.Or(cfg.Engine.Listeners[i].Addr, "127.0.0.1:0")
	}
	if cfg.Engine.Loops == 0 {
		cfg.Engine.Loops = 2
	}
	var err error
	if s.Server, err = rollcall.New(cfg); err != nil {
		t.Fatalf("rollcalltest: %v", err)
	}
	if setup != nil {
		setup(s.Server)
	}
	if err := s.Engine.Listen(); err != nil {
		close(s.ran)
		s.Stop()
		t.Fatalf("rollcalltest: the server cannot listen: %v", err)
	}
	s.Addr = s.Engine.Addrs()[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.ran)
		s.runErr = s.Engine.Run(ctx)
	}()
	t.Cleanup(s.Stop)
	return s
}

// Stop stops the server: every client is told ServerStopping, every session ends, and Stop returns when the event handlers have
// returned. The test fails when not everything has ended at the engine's Timeouts.Stop, or 10 s later. A second Stop waits for the
// first. Do not call it in a handler.
func (s *Server) Stop() {
	s.t.Helper()
	s.stop.Do(func() {
		if s.cancel != nil {
			s.cancel()
		}
		<-s.ran
		if s.runErr != nil {
			s.t.Errorf("rollcalltest: the engine did not stop cleanly: %v", s.runErr)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Users.Close(ctx); err != nil {
			s.t.Errorf("rollcalltest: the user manager did not stop cleanly: %v", err)
		}
		s.quiet.Store(true)
	})
}

// Client logs a user on, and closes the client when the test and its subtests have ended. It sets cfg.UserID to userID. It fails the
// test when the logon fails; to test a refused logon use client.Dial with Addr.
func (s *Server) Client(t testing.TB, userID string, cfg client.Config) *client.Client {
	t.Helper()
	cfg.UserID = userID
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, s.Addr, cfg)
	if err != nil {
		t.Fatalf("rollcalltest: %s cannot log on: %v", userID, err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("rollcalltest: the client of %s: %v", userID, err)
		}
		select {
		case <-c.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("rollcalltest: a handler of %s has not returned", userID)
		}
	})
	return c
}

// Eventually polls until cond holds, and fails the test when it does not hold within 30 s. Use it where no event or call says when cond
// holds. format and args say what the test waits for.
func Eventually(t testing.TB, cond func() bool, format string, args ...any) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("rollcalltest: after 30 s still not: "+format, args...)
		}
		time.Sleep(time.Millisecond)
	}
}

// untilStopped keeps a logger from using the test's log when the test may be over, which panics.
func (s *Server) untilStopped(core zapcore.Core) zapcore.Core { return &stoppingCore{core, &s.quiet} }

type stoppingCore struct {
	zapcore.Core
	stopped *atomic.Bool
}

func (c *stoppingCore) Enabled(l zapcore.Level) bool { return !c.stopped.Load() && c.Core.Enabled(l) }

func (c *stoppingCore) With(f []zapcore.Field) zapcore.Core {
	return &stoppingCore{c.Core.With(f), c.stopped}
}

func (c *stoppingCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.stopped.Load() {
		return ce
	}
	return c.Core.Check(e, ce)
}
