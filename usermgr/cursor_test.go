package usermgr_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// By cursor, a user online for the whole listing appears exactly once, and no user twice, while others come and go.
func TestCursorIsStableWhileUsersComeAndGo(t *testing.T) {
	m := newManager(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
	stay := make(map[string]bool) // the users who stay, and their sessions
	for i := range uint64(1000) {
		userID := fmt.Sprint("stays", i)
		stay[userID] = true
		stay[logOn(t, m, userID, newLink(i)).ID()] = true
	}
	var others sync.WaitGroup
	defer others.Wait()
	quit := make(chan struct{})
	defer close(quit)
	for worker := range uint64(2) {
		others.Go(func() {
			random := rand.New(rand.NewPCG(worker, 1))
			for conn := 1_000_000 * (worker + 1); ; conn++ {
				select {
				case <-quit:
					return
				default:
				}
				link, l := newLink(conn), usermgr.Logon{UserID: fmt.Sprint("comes", random.IntN(300))}
				if conn%4 == 0 { // another session of one who stays
					l.UserID, l.Device = fmt.Sprint("stays", random.IntN(1000)), tablet
				}
				s, err := m.Register(t.Context(), l, link)
				if err != nil {
					t.Errorf("%s could not log on: %v", l.UserID, err)
					return
				}
				if conn%3 > 0 {
					s.End(protocol.ClientClosed)
				}
			}
		})
	}
	for round := range 20 {
		for name, of := range map[string]pager{"users": userIDs, "sessions": sessionIDs} {
			q := usermgr.PageQuery{Limit: 1 + round*round}
			seen := make(map[string]int)
			for {
				p := ask(t, m, of, q)
				for _, id := range p.Items {
					seen[id]++
				}
				if q.Cursor = p.Next; p.Next == "" {
					break
				}
			}
			stayed := 0
			for id, n := range seen {
				if n > 1 {
					t.Errorf("%s, %d a page: %s is listed %d times", name, q.Limit, id, n)
				}
				if stay[id] {
					stayed++
				}
			}
			if stayed != 1000 {
				t.Errorf("%s, %d a page: of the 1,000 who stay %d are listed", name, q.Limit, stayed)
			}
		}
		matched := 0
		for s := range m.Sessions(usermgr.Filter{}) {
			if stay[s.ID] {
				matched++
			}
		}
		if matched != 1000 {
			t.Errorf("of the 1,000 sessions that stay %d match", matched)
		}
		if p := ask(t, m, userIDs, usermgr.PageQuery{Page: 2, Limit: 7}); len(p.Items) != 7 || p.Total < 1000 {
			t.Errorf("page 2 has %d rows, total %d", len(p.Items), p.Total)
		}
	}
}

// A cursor is a place: it goes on when the item before it has gone, with another limit, and with another filter.
func TestCursorOutlivesTheItemItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 9}})
		for i := range uint64(100) {
			logOn(t, m, fmt.Sprint("user", i/2), newLink(i)) // each has two sessions
		}
		for _, of := range []pager{userIDs, sessionIDs} {
			whole := ask(t, m, of, usermgr.PageQuery{Limit: 1000}).Items
			first := ask(t, m, of, usermgr.PageQuery{Limit: 5})
			last := first.Items[4]
			wait(t, endUser(m, last, protocol.KickedOut, ""))
			wait(t, endSession(m, last, protocol.KickedOut, ""))
			rest := ask(t, m, of, usermgr.PageQuery{Limit: 1000, Cursor: first.Next, Filter: usermgr.Filter{Devices: []uint16{0}}})
			if !slices.Equal(rest.Items, whole[5:]) {
				t.Errorf("after the cursor there are %d items, want %d", len(rest.Items), len(whole)-5)
			}
		}
		numbered := ask(t, m, sessionIDs, usermgr.PageQuery{Limit: 5, Page: 3})
		next := ask(t, m, sessionIDs, usermgr.PageQuery{Limit: 5, Page: 4})
		if p := ask(t, m, sessionIDs, usermgr.PageQuery{Limit: 5, Cursor: numbered.Next}); !slices.Equal(p.Items, next.Items) {
			t.Error("the cursor of page 3 does not go on with page 4")
		}
	})
}

// A session ID is a secret, and a cursor may end up in a link of a web page.
func TestCursorHasNoSessionID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		for i := range uint64(2) {
			logOn(t, m, fmt.Sprint("user", i), newLink(i))
		}
		p := ask(t, m, sessionIDs, usermgr.PageQuery{Limit: 1})
		raw, err := base64.RawURLEncoding.DecodeString(p.Next)
		id := uuid.MustParse(p.Items[0])
		if err != nil || bytes.Contains(raw, id[8:]) {
			t.Errorf("the cursor is %q, %v, and has the random part of %v", raw, err, id)
		}
	})
}
