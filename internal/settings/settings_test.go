// Package settings_test sets every number of every Config to unexpected values.
package settings_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// setup is everything that can be set in a server and a client. What a struct gets anew is tried by itself.
type setup struct {
	Engine  engine.Config
	Users   usermgr.Config
	Bridge  bridge.Config
	Kick    usermgr.KickOptions
	Push    push.Config
	Options push.Options
	Client  client.Config
	Request struct{ Timeout time.Duration } // of engine.Conn.Request
}

// authenticate lets a client in whose deadline makes sense.
func authenticate(ctx context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) < 0 {
		return bridge.Identity{}, fmt.Errorf("the deadline is %v", deadline)
	}
	return bridge.Identity{UserID: l.UserID}, nil
}

func newSetup() *setup {
	return &setup{
		Engine: engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}, Logger: zap.NewNop()},
		Users:  usermgr.Config{Logger: zap.NewNop()},
		Bridge: bridge.Config{Logger: zap.NewNop()},
		Kick:   usermgr.KickOptions{RevokeFor: time.Hour},
		Client: client.Config{UserID: "ann", Fields: map[string]string{protocol.FieldToken: "ann's"}, Reconnect: client.Reconnect{Max: -1},
			OnPush: func(*client.Client, *protocol.PushMessage) {}},
	}
}

// numbers calls f with every number in v, and its path.
func numbers(v reflect.Value, path string, f func(path string, number reflect.Value)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				numbers(v.Field(i), path+"."+v.Type().Field(i).Name, f)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			numbers(v.Index(i), path, f)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		f(path, v)
	}
}

// extremes are the values that a number of this kind is set to.
func extremes(v reflect.Value) (all []any) {
	switch {
	case v.CanInt():
		bits := v.Type().Bits()
		for _, n := range []int64{-1, 1, -1 << (bits - 1), 1<<(bits-1) - 1} {
			all = append(all, n)
		}
	case v.CanUint():
		all = append(all, uint64(1), uint64(math.MaxUint64)>>(64-v.Type().Bits()))
	default:
		for _, n := range []float64{-1, 1, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN()} {
			all = append(all, n)
		}
	}
	return all
}

func set(v reflect.Value, to any) {
	switch n := to.(type) {
	case int64:
		v.SetInt(n)
	case uint64:
		v.SetUint(n)
	case float64:
		v.SetFloat(n)
	}
}

// Every number in every Config, set to what makes the least sense, is refused by an error or a panic that names it, or it works: a
// client logs on, asks, is pushed to and kicked out, its token is refused, and the server stops. The least number that is one, 1,
// may close a client for its limit, but the server stops in time with it too.
func TestEveryNumberIsRefusedByNameOrWorks(t *testing.T) {
	tried := 0
	numbers(reflect.ValueOf(newSetup()).Elem(), "", func(path string, v reflect.Value) {
		for _, to := range extremes(v) {
			tried++
			name := path[strings.LastIndex(path, ".")+1:]
			t.Run(fmt.Sprintf("%s=%v", path[1:], to), func(t *testing.T) {
				t.Parallel()
				s := newSetup()
				numbers(reflect.ValueOf(s).Elem(), "", func(p string, v reflect.Value) {
					if p == path {
						set(v, to)
					}
				})
				small := fmt.Sprint(to) == "1" || fmt.Sprint(to) == "5e-324"
				if err := s.run(t, small); err != nil && !strings.Contains(err.Error(), name) {
					t.Errorf("it does not work: %v", err)
				}
			})
		}
	})
	if tried < 200 {
		t.Errorf("only %d settings were tried", tried)
	}
}

// patience is how long a step may take.
const patience = 20 * time.Second

// run runs a server and a client. An error says what did not work; where small is true the client may fail.
func (s *setup) run(t *testing.T, small bool) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	users := testkit.Must(usermgr.New(s.Users))
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if closing := users.Close(ctx); closing != nil && err == nil {
			err = fmt.Errorf("the manager does not close: %w", closing)
		}
	}()
	e := testkit.Must(engine.New(s.Engine))
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	b := testkit.Must(bridge.Attach(e, users, authenticate, s.Bridge))
	pushes := push.New(b, s.Push)
	if err := e.Listen(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	defer func() {
		stop()
		select {
		case stopped := <-ended:
			if stopped != nil && !small && err == nil {
				err = fmt.Errorf("Run returned %w", stopped)
			}
		case <-time.After(2 * patience):
			t.Error("the server does not stop")
		}
	}()
	limit := patience
	if small {
		limit = time.Second
	}
	if err := s.visit(e, users, pushes, limit); err != nil && !small {
		return err
	}
	return nil
}

// visit is what a client does, and what is done to it.
func (s *setup) visit(e *engine.Engine, users *usermgr.Manager, pushes *push.Service, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	addr := e.Addrs()[0].String()
	c, err := client.Dial(ctx, addr, s.Client)
	if err != nil {
		return fmt.Errorf("Dial returned %w", err)
	}
	defer func() { _ = c.Close() }()
	if m, err := c.Request(ctx, 1, []byte("hello")); err != nil || string(m.Body) != "hello" {
		return fmt.Errorf("a request ended with %w", err)
	}
	answered := make(chan error, 1)
	for _, l := range users.Links("ann") {
		conn := e.Conn(l.Address().Conn)
		if conn == nil {
			return errors.New("the client's connection is closed")
		}
		if err := conn.RequestFunc(2, nil, s.Request.Timeout, func(_ *protocol.Message, err error) { answered <- err }); err != nil {
			return fmt.Errorf("a request of the server's: %w", err)
		}
	}
	select {
	case err := <-answered:
		if !errors.Is(err, protocol.NoHandler) {
			return fmt.Errorf("a request of the server's ended with %w", err)
		}
	case <-ctx.Done():
		return errors.New("a request of the server's does not end")
	}
	s.Options.Confirm = true
	r, err := pushes.Push(ctx, push.ToUsers("ann"), push.Text("hello"), &s.Options)
	if err != nil || r.Confirmed() != 1 {
		return fmt.Errorf("the push ended with %+v, %w", r, err)
	}
	wait, err := users.Kick("ann", &s.Kick)
	if err != nil {
		return fmt.Errorf("the kick: %w", err)
	}
	if _, err := wait(ctx); err != nil {
		return fmt.Errorf("the kick: %w", err)
	}
	users.Closed()
	again, err := client.Dial(ctx, addr, s.Client)
	if err == nil {
		_ = again.Close()
	}
	if revoked := errors.Is(err, protocol.Unauthorized); revoked != (s.Kick.RevokeFor > 0) {
		return fmt.Errorf("with the token of a session that was kicked Dial returned %v", err)
	}
	return nil
}
