//go:build unix

package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/load"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// kills is how often a server is stopped.
func kills(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SOAK_KILLS")
	if text == "" {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A server that is stopped in full flow loses nothing that was answered. What was not answered is stored once, however often it is repeated, and
// the store goes on when the server is back (rules P29, P33 and P43).
func TestAServerThatIsStoppedLosesNothing(t *testing.T) {
	pgtest.Shared(t)            // or the test is left out
	server, err := pgtest.New() // with fsync
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Remove)
	s := open(t, server.Schema(t))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := load.Prepare(ctx, s); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	up := make(chan struct{}) // closed while the server runs
	close(up)
	var answers []load.Answer
	batches, failures := 0, 0
	count := func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return batches, failures
	}
	var all sync.WaitGroup
	for range 4 { // two servers
		all.Go(func() {
			load.Write(ctx, s, func(a []load.Answer) {
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, a...)
				batches++
			}, func(err error) {
				if errors.Is(err, chat.ErrBadPost) {
					t.Errorf("the error of a server that has stopped is %v", err)
				}
				mu.Lock()
				failures++
				back := up
				mu.Unlock()
				<-back
				testkit.BeSlow() // a connection to the old server may be next
			})
		})
	}
	for round := range kills(t) {
		before, failed := count()
		testkit.EventuallyIn(t, time.Minute, "batches are answered", func() bool { now, _ := count(); return now >= before+10+7*round%40 })
		mu.Lock()
		up = make(chan struct{})
		mu.Unlock()
		server.Kill()
		testkit.Eventually(t, "a batch fails", func() bool { _, now := count(); return now > failed })
		err := server.Start()
		close(up)
		if err != nil {
			t.Fatal(err)
		}
	}
	before, _ := count()
	testkit.EventuallyIn(t, time.Minute, "the store goes on", func() bool { now, _ := count(); return now >= before+10 })
	cancel()
	all.Wait()
	load.Check(t, s, answers)
}

// Reads go on at once when the server has started again, although the connections that were open have ended.
func TestReadsGoOnAfterAStart(t *testing.T) {
	pgtest.Shared(t) // or the test is left out
	server, err := pgtest.New("-c", "fsync=off")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Remove)
	s := open(t, server.Schema(t))
	if err := load.Prepare(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var all sync.WaitGroup
		for range 20 { // more than there are connections
			all.Go(func() {
				if page, err := s.History(t.Context(), chat.Key{Group: 1}, "ann", chat.Range{Limit: 1}); err != nil || page.Group == nil {
					t.Errorf("the page is %+v, %v", page, err)
				}
				if _, err := s.Groups(t.Context(), "ann"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		server.Kill()
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// A batch that PostgreSQL ends because of a deadlock, here with a transaction that locks conversations in another order, is tried again.
func TestADeadlockIsTriedAgain(t *testing.T) {
	server := pgtest.Shared(t)
	dsn := server.Schema(t)
	s := open(t, dsn)
	ctx := context.Background()
	if err := load.Prepare(ctx, s); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, text := range []string{"SET LOCAL deadlock_timeout = '1min'", "SELECT 1 FROM conversation WHERE id = 2 FOR UPDATE"} { // the batch is to be ended
		if _, err := tx.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	first := &chat.Post{Group: 1, From: "ann", ID: uuid.New(), Time: time.Now()}
	second := &chat.Post{Group: 2, From: "ann", ID: uuid.New(), Time: time.Now()}
	done, asked := make(chan error), 0
	go func() {
		done <- s.Append(ctx, []*chat.Post{second, first}, func(*chat.Post, *chat.Standing) error { asked++; return nil })
	}()
	testkit.Eventually(t, "the batch waits", func() bool {
		return len(server.Run(t, dsn, "SELECT 'x' FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM unnest%FOR UPDATE%'")) > 0
	})
	if _, err := tx.Exec("SELECT 1 FROM conversation WHERE id = 1 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Receive(t, "the batch ends", done); err != nil || first.Seq != 1 || second.Seq != 1 || asked != 2 {
		t.Errorf("the batch has the error %v, the numbers %d and %d, and allow was asked %d times", err, first.Seq, second.Seq, asked)
	}
}
