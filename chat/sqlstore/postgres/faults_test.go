//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/load"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// A server that is stopped in full flow loses nothing that was answered. What was not answered is stored once, however often it is repeated, and
// the store goes on when the server is back (rules P29, P33 and P43).
func TestAServerThatIsStoppedLosesNothing(t *testing.T) {
	sharedServer(t) // or the test is left out
	kills := 5
	if text := os.Getenv("SOAK_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		kills = n
	}
	server, err := newServer() // with fsync
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.remove)
	s := open(t, server.schema(t))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := load.Prepare(ctx, s); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var answers []load.Answer
	batches, failures := 0, 0
	count := func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return batches, failures
	}
	var all sync.WaitGroup
	for range s.Writers() {
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
				mu.Unlock()
				testkit.BeSlow()
			})
		})
	}
	for round := range kills {
		before, failed := count()
		testkit.EventuallyIn(t, time.Minute, "batches are answered", func() bool { now, _ := count(); return now >= before+10+7*round%40 })
		server.kill()
		testkit.Eventually(t, "a batch fails", func() bool { _, now := count(); return now > failed })
		if err := server.start(); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := count()
	testkit.EventuallyIn(t, time.Minute, "the store goes on", func() bool { now, _ := count(); return now >= before+10 })
	cancel()
	all.Wait()
	load.Check(t, s, answers)
}

func BenchmarkAppend(b *testing.B) {
	sharedServer(b)
	server, err := newServer() // with fsync
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.remove)
	load.Benchmark(b, open(b, server.schema(b)))
}
