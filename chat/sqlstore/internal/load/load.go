// Package load writes messages to a store, for tests of faults and for benchmarks, and checks what has become of them.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
)

// Answer is a message that Append has answered.
type Answer struct {
	Key  chat.Key
	Seq  uint64
	ID   uuid.UUID
	From string
}

const groups = 3

var users = []string{"ann", "bob", "cid", "dan"}

// Prepare makes the groups that Write writes to, if there are none.
func Prepare(ctx context.Context, store chat.Store) error {
	for id := range groups {
		g := chat.Group{ID: chat.GroupID(id + 1), Owner: users[0], MaxMembers: 10}
		if err := store.CreateGroup(ctx, g, func(int) error { return nil }); err != nil && !errors.Is(err, chat.ErrTaken) {
			return err
		}
	}
	return nil
}

func allow(*chat.Post, *chat.Standing) error { return nil }

// batch is a batch of messages to groups and users.
func batch() []*chat.Post {
	posts := make([]*chat.Post, 1+rand.N(20))
	for i := range posts {
		p := &chat.Post{From: users[rand.N(len(users))], ID: uuid.New(), Type: 1, Content: make([]byte, rand.N(300)), Time: time.Now()}
		if rand.N(2) == 0 {
			p.Group = chat.GroupID(1 + rand.N(groups))
		} else {
			p.To = users[rand.N(len(users))]
		}
		posts[i] = p
	}
	return posts
}

// Write writes batches until ctx ends. answered is called for the messages of each batch that Append has answered. It repeats a batch that has
// failed until it has an answer, as a program does that does not know whether it was stored: with failed, which may wait, between.
func Write(ctx context.Context, store chat.Store, answered func([]Answer), failed func(error)) {
	for ctx.Err() == nil {
		posts := batch()
		for err := store.Append(context.WithoutCancel(ctx), posts, allow); err != nil; err = store.Append(context.WithoutCancel(ctx), posts, allow) {
			failed(err)
			if ctx.Err() != nil {
				return
			}
		}
		all := make([]Answer, len(posts))
		for i, p := range posts {
			all[i] = Answer{p.Key(), p.Seq, p.ID, p.From}
		}
		answered(all)
	}
}

// Check wants each message that was answered to be in history once, with its number and sender, no ID to be there twice, and the numbers of each
// conversation to be without gaps (rules P29 and P33).
func Check(t testing.TB, store chat.Store, answers []Answer) {
	t.Helper()
	byKey := make(map[chat.Key]map[uint64]Answer)
	for _, a := range answers {
		if byKey[a.Key] == nil {
			byKey[a.Key] = make(map[uint64]Answer)
		}
		if was, ok := byKey[a.Key][a.Seq]; ok && was != a {
			t.Errorf("rule P29: %+v and %+v have one number", was, a)
		}
		byKey[a.Key][a.Seq] = a
	}
	for key, wanted := range byKey {
		found, err := history(store, key)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]uint64, len(found))
		for i, m := range found {
			if m.Seq != uint64(i+1) {
				t.Fatalf("rule P29: message %d of %v has number %d", i+1, key, m.Seq)
			}
			name := m.From + m.ID.String()
			if seen[name] != 0 {
				t.Errorf("rule P33: the message %v is there twice, %d and %d", m.ID, seen[name], m.Seq)
			}
			seen[name] = m.Seq
			if a, ok := wanted[m.Seq]; ok && (a.ID != m.ID || a.From != m.From) {
				t.Errorf("rule P29: %+v was answered, and the message is %+v", a, m)
			}
			delete(wanted, m.Seq)
		}
		for _, a := range wanted {
			t.Errorf("rule P29: %+v was answered, and is lost", a)
		}
	}
}

// history returns a whole conversation.
func history(store chat.Store, of chat.Key) (all []chat.Message, err error) {
	for {
		r := chat.Range{FromStart: true, Limit: 1000}
		if len(all) > 0 {
			r.After = all[len(all)-1].Seq
		}
		page, err := store.History(context.Background(), of, users[0], r)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Messages...)
		if !page.More {
			if uint64(len(all)) != page.Last {
				return nil, fmt.Errorf("rule P29: %v has %d messages, and the last number is %d", of, len(all), page.Last)
			}
			return all, nil
		}
	}
}

// Benchmark measures Append with batches of several sizes, in as many goroutines as the store has use for: messages of 200 bytes from 256 users to
// 64 groups.
func Benchmark(b *testing.B, store chat.Store) {
	const conversations, senders = 64, 256
	ctx := context.Background()
	ids := make([]string, senders)
	for i := range ids {
		ids[i] = fmt.Sprint("user", i)
		if err := store.UpdateUser(ctx, ids[i], func(u *chat.User) error { u.Exists = true; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	for id := range conversations {
		if err := store.CreateGroup(ctx, chat.Group{ID: chat.GroupID(id + 1), Owner: "user0", MaxMembers: senders}, func(int) error { return nil }); err != nil {
			b.Fatal(err)
		}
		_, err := store.UpdateGroup(ctx, chat.GroupID(id+1), ids[1:], func(_ *chat.Group, users []chat.Member) error {
			for i := range users {
				users[i].In = true
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, size := range []int{1, 64, 256} {
		for _, writers := range slices.Compact([]int{1, store.Writers()}) {
			b.Run(fmt.Sprintf("%d posts, %d writers", size, writers), func(b *testing.B) { measure(b, store, size, writers, conversations, ids) })
		}
	}
}

// measure has each writer write to conversations of its own, as chat does.
func measure(b *testing.B, store chat.Store, size, writers, conversations int, ids []string) {
	ctx := context.Background()
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			content := make([]byte, 200)
			for i := range b.N {
				if i%writers != w {
					continue
				}
				posts := make([]*chat.Post, size)
				for j := range posts {
					group := chat.GroupID(1 + w + writers*rand.N(conversations/writers))
					posts[j] = &chat.Post{Group: group, From: ids[rand.N(len(ids))], ID: uuid.New(), Type: 1, Content: content, Time: time.Now()}
				}
				if err := store.Append(ctx, posts, allow); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "messages/s")
}
