//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/chat/sqlstore/postgres"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// application is what announces users.
type application struct {
	t    *testing.T
	dsn  string
	conn *pgx.Conn
}

func newApplication(t *testing.T) *application {
	t.Helper()
	a := &application{t: t, dsn: pgtest.Shared(t).Schema(t)}
	var err error
	if a.conn, err = pgx.Connect(t.Context(), a.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.conn.Close(context.Background()) })
	return a
}

func (a *application) run(statements string) {
	a.t.Helper()
	if _, err := a.conn.Exec(a.t.Context(), statements); err != nil {
		a.t.Fatal(err)
	}
}

func (a *application) is(condition string) (is bool) {
	a.t.Helper()
	if err := a.conn.QueryRow(a.t.Context(), "SELECT "+condition).Scan(&is); err != nil {
		a.t.Fatal(err)
	}
	return is
}

// awaitTable waits until a server has made the table.
func (a *application) awaitTable() {
	a.t.Helper()
	testkit.Eventually(a.t, "the server has made the table", func() bool { return a.is("to_regclass('user_events') IS NOT NULL") })
}

// empty waits until all rows are handled.
func (a *application) empty() {
	a.t.Helper()
	testkit.Eventually(a.t, "all rows are handled", func() bool { return a.is("NOT EXISTS (SELECT FROM user_events)") })
}

// serve starts a server that reads the application's table until the end of the test.
func (a *application) serve(cfg chat.Config, poll, retry time.Duration) *chattest.World {
	a.t.Helper()
	store, err := postgres.Open(a.t.Context(), a.dsn)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			a.t.Error(err)
		}
	})
	cfg.Store = store
	w := chattest.NewWorld(a.t, cfg)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		o := outbox{dsn: a.dsn, create: w.Chat.CreateUser, poll: poll, retry: retry}
		o.run(ctx)
	})
	a.t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return w
}

// made counts how often each user was made or set up.
type made struct {
	mu    sync.Mutex
	times map[string]int
}

func (m *made) note(user string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.times == nil {
		m.times = make(map[string]int)
	}
	m.times[user]++
	return m.times[user]
}

func (m *made) count(user string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.times[user]
}

const never = time.Hour

// A4, rule P40: rows from before the start are handled, and later ones at once where a notification comes with them.
func TestAnnouncedUsersAreMade(t *testing.T) {
	a := newApplication(t)
	a.run(outboxTable)
	a.run("INSERT INTO user_events (user_id) VALUES ('ann'), ('bob')")
	var users made
	a.serve(chat.Config{RequireCreated: true, Handlers: chat.Handlers{UserCreated: func(user string) { users.note(user) }}}, never, never)
	a.empty()
	a.run("INSERT INTO user_events (user_id) VALUES ('cid'), ('ann'); NOTIFY user_events")
	a.empty()
	for _, user := range []string{"ann", "bob", "cid"} {
		if n := users.count(user); n != 1 {
			t.Errorf("rule P40: %s was made %d times", user, n)
		}
	}
}

// A notification that was lost costs one poll.
func TestALostNotificationCostsAPoll(t *testing.T) {
	a := newApplication(t)
	a.serve(chat.Config{}, 20*time.Millisecond, never)
	a.awaitTable()
	a.run("INSERT INTO user_events (user_id) VALUES ('ann')")
	a.empty()
}

// A4, rule P40: a row whose SetUp fails stays, is tried again, and holds no other row up.
func TestARowWhoseSetUpFailsIsTriedAgain(t *testing.T) {
	a := newApplication(t)
	a.run(outboxTable)
	a.run("INSERT INTO user_events (user_id) VALUES ('ann'), ('bob')")
	var calls made
	w := a.serve(chat.Config{SetUp: func(_ context.Context, u chat.NewUser) error {
		if n := calls.note(u.UserID); u.UserID == "ann" && n < 3 {
			return errors.New("not yet")
		}
		return nil
	}}, 20*time.Millisecond, 50*time.Millisecond)
	a.empty()
	if ann, bob := calls.count("ann"), calls.count("bob"); ann != 3 || bob != 1 {
		t.Errorf("rule P40: SetUp was called %d times for ann, and %d times for bob", ann, bob)
	}
	all, err := w.Store.Users(t.Context(), []string{"ann", "bob"})
	if err != nil || !all[0].SetUp || !all[1].SetUp {
		t.Errorf("rule P40: the users are %+v, %v", all, err)
	}
}

// Rule P40: two servers that read one table make each user once, and share the rows.
func TestTwoServersReadOneTable(t *testing.T) {
	a := newApplication(t)
	a.run(outboxTable)
	a.run("INSERT INTO user_events (user_id) SELECT 'user' || n FROM generate_series(1, 100) n, generate_series(1, 2)") // each twice
	var users made
	var both sync.WaitGroup
	both.Add(2)
	met := make(chan struct{})
	go func() {
		both.Wait()
		close(met)
	}()
	for range 2 {
		first := sync.OnceFunc(func() {
			both.Done()
			select {
			case <-met:
			case <-time.After(testkit.Patience):
				t.Error("rule P40: only one server has a row")
			}
		})
		a.serve(chat.Config{
			SetUp:    func(context.Context, chat.NewUser) error { first(); return nil },
			Handlers: chat.Handlers{UserCreated: func(user string) { users.note(user) }},
		}, 20*time.Millisecond, 20*time.Millisecond)
	}
	a.empty()
	for i := range 100 {
		if user := fmt.Sprint("user", i+1); users.count(user) != 1 {
			t.Errorf("rule P40: %s was made %d times", user, users.count(user))
		}
	}
}
