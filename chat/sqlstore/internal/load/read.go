package load

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/chat"
)

// fillGroup makes a group of some users, with so many messages of 200 bytes.
func fillGroup(b *testing.B, store chat.Store, id chat.GroupID, members, messages int) {
	ctx := context.Background()
	ids := make([]string, members)
	for i := range ids {
		ids[i] = fmt.Sprintf("user%05d", i)
	}
	if err := store.CreateGroup(ctx, chat.Group{ID: id, Owner: ids[0], Open: true, MaxMembers: members + 1}, func(int) error { return nil }); err != nil {
		b.Fatal(err)
	}
	_, err := store.UpdateGroup(ctx, id, ids[1:], func(_ *chat.Group, users []chat.Member) error {
		for i := range users {
			users[i].In = true
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for left := messages; left > 0; {
		posts := make([]*chat.Post, min(left, 256))
		for i := range posts {
			posts[i] = &chat.Post{Group: id, From: ids[rand.N(members)], ID: uuid.New(), Type: 1, Content: make([]byte, 200), Time: time.Now()}
		}
		if err := store.Append(ctx, posts, allow); err != nil {
			b.Fatal(err)
		}
		left -= len(posts)
	}
}

// BenchmarkHistory measures a page of 50 messages out of the 20,000 of a group, at a random place, as a client's request has it read. The target in
// docs/benchmarks.md is p99-µs of at most 1,000.
func BenchmarkHistory(b *testing.B, store chat.Store) {
	const id, messages, page = 1, 20_000, 50
	fillGroup(b, store, id, 200, messages)
	percentiles(b, func() {
		before := uint64(page + 1 + rand.N(messages-page))
		p, err := store.History(b.Context(), chat.Key{Group: id}, "user00000", chat.Range{Before: before, Limit: page, Bytes: 256 << 10})
		if err != nil || len(p.Messages) != page {
			b.Fatal(len(p.Messages), err)
		}
	}, nil)
}

// BenchmarkJoin measures a user's Join of a group of 199 others with 1,000 messages, of which the answer has the last 50: by a service, without
// sockets. The user leaves again, which is not measured. The target in docs/benchmarks.md is p99-µs of at most 5,000.
func BenchmarkJoin(b *testing.B, store chat.Store) {
	const id = 1
	fillGroup(b, store, id, 199, 1000)
	srv, err := rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	messages, err := chat.New(srv.Bridge, chat.Config{Store: store})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(srv.Users.Close(context.Background()), messages.Close(context.Background())); err != nil {
			b.Error(err)
		}
	})
	percentiles(b, func() {
		if page, err := messages.Join(b.Context(), id, "ann"); err != nil || len(page.Messages) != 50 {
			b.Fatal(len(page.Messages), err)
		}
	}, func() {
		if err := messages.Leave(b.Context(), id, "ann"); err != nil {
			b.Fatal(err)
		}
	})
}

// contactsEach is how many contacts a user has for BenchmarkWatchers.
const contactsEach = 100

// accounts is how many users there are for BenchmarkWatchers.
func accounts(b *testing.B) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("BENCH_ACCOUNTS"), "20000"))
	if err != nil || n <= contactsEach || n > 10_000_000 {
		b.Fatalf("BENCH_ACCOUNTS: more than %d and at most 10,000,000", contactsEach)
	}
	return n
}

// FillContacts makes users for BenchmarkWatchers in a database that has a store's tables and nothing in them: BENCH_ACCOUNTS of them, or 20,000. Each
// is a friend of 100 others, who are all over the database, and so are the rows of one user: as friends come over the years. finish are
// statements that come last.
func FillContacts(b *testing.B, driver, dsn string, finish ...string) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	users := accounts(b)
	all := fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)", users-1)
	statements := []string{"INSERT INTO account (user_id, may_receive, may_send, allow_anonymous, requests, created, set_up) " + all +
		" SELECT 'user' || (10000000 + i), TRUE, TRUE, TRUE, 0, 1, TRUE FROM n"}
	for k := range contactsEach / 2 {
		apart := (k + 1) * (users / (contactsEach + 1))
		for _, d := range []int{apart, users - apart} {
			statements = append(statements, fmt.Sprintf("INSERT INTO contact (user_id, other, state, blocked, blocked_anonymous, since, note, declined) %s"+
				" SELECT 'user' || (10000000 + i), 'user' || (10000000 + (i + %d) %% %d), %d, FALSE, FALSE, 1, '', 0 FROM n", all, d, users, chat.Friend))
		}
	}
	for _, s := range append(statements, finish...) {
		if _, err := db.Exec(s); err != nil {
			b.Fatalf("%s: %v", s, err)
		}
	}
}

// BenchmarkWatchers measures what package chat asks a store for when a random user has come or gone, to know who is told: the user's groups and
// contacts, and who has blocked whom. FillContacts has made the users. The target in docs/benchmarks.md is p99-µs of at most 2,000, of
// 1,000,000 users in PostgreSQL.
func BenchmarkWatchers(b *testing.B, store chat.Store) {
	users := accounts(b)
	percentiles(b, func() { // as the methods of chat's friends do
		user := fmt.Sprint("user", 10_000_000+rand.N(users))
		if _, err := store.Groups(b.Context(), user); err != nil {
			b.Fatal(err)
		}
		contacts, err := store.Contacts(b.Context(), user, "", 0)
		if err != nil || len(contacts) != contactsEach {
			b.Fatal(len(contacts), err)
		}
	}, nil)
}

// percentiles calls f for each operation of a benchmark, and reports how long half of the calls have taken at most, and 99 of 100. between, when
// it is not nil, is called after each f, and is not measured. The first 500 calls do not count: caches are cold, and statements not prepared.
func percentiles(b *testing.B, f, between func()) {
	b.Cleanup(withHeap())
	var took []time.Duration
	one := func() {
		began := time.Now()
		f()
		took = append(took, time.Since(began))
		if between != nil {
			b.StopTimer()
			between()
			b.StartTimer()
		}
	}
	for range 500 {
		one()
	}
	took = took[:0]
	for b.Loop() {
		one()
	}
	report(b, took, time.Microsecond, "µs")
}

// withHeap gives the process a heap of 64 MB, as a server with some 30,000 users has, until the function that it returns is called: a benchmark's own is so
// small that it would be collected every hundred calls.
func withHeap() (end func()) {
	heap := make([]byte, 64<<20)
	return func() { runtime.KeepAlive(heap) }
}

// report reports percentiles in a unit.
func report(b *testing.B, took []time.Duration, unit time.Duration, name string) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/float64(unit), "p50-"+name)
	b.ReportMetric(float64(took[len(took)*99/100])/float64(unit), "p99-"+name)
}
