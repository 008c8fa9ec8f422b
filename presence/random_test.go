package presence_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/usermgr"
)

// reader is a session that watches, and what it knows.
type reader struct {
	*peer
	knows map[string]presence.State
}

// read takes the notices that have come. None may tell what is known already.
func (r *reader) read(t *testing.T) {
	r.query()
	for _, notice := range r.notices {
		for _, word := range strings.Split(notice, ", ") {
			user, name, _ := strings.Cut(word, " ")
			state := map[string]presence.State{"online": presence.Online, "offline": presence.Offline, "busy": presence.Busy, "stealth": presence.Stealth}[name]
			before, known := r.knows[user]
			if !known {
				before = presence.Offline
			}
			if user != r.user && before == state {
				t.Errorf("rule P21: %s, who knows %s as %v, is told the same", r.user, user, before)
			}
			if r.knows[user] = state; state == presence.Offline {
				delete(r.knows, user)
			}
		}
	}
	r.notices = nil
}

// Rules P20 to P23: whatever users do, in whatever order, each session that watches is told no state twice in a row, and knows in the end what
// its contacts are.
func TestWhateverUsersDoWatchersKnowWhatIs(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, presence.Config{MaxNotices: 3 + int(seed)*2}, usermgr.Config{})
			rnd := rand.New(rand.NewPCG(seed, 7))
			sessions := make(map[string][]*peer)
			var readers []*reader
			apart := make(map[[2]string]bool)
			for step := range 150 {
				user, other := people[rnd.IntN(len(people))], people[rnd.IntN(len(people))]
				state := presence.State([]presence.State{presence.Online, presence.Busy, presence.Stealth}[rnd.IntN(3)])
				mine := sessions[user]
				switch what := rnd.IntN(10); {
				case what < 2 && len(mine) < 3:
					field := []string{"", "", state.String()}[rnd.IntN(3)]
					sessions[user] = append(mine, w.logOn(user, "presence", field))
				case what < 4 && len(mine) > 0:
					mine[0].set(state)
				case what < 5 && len(mine) > 0:
					gone := mine[0]
					sessions[user] = mine[1:]
					kept := readers[:0]
					for _, r := range readers {
						if r.peer != gone {
							kept = append(kept, r)
						}
					}
					readers = kept
					gone.leave()
					if len(mine) == 1 {
						w.gone(user)
					}
				case what < 6 && len(mine) > 0:
					readers = append(readers, newReader(mine, readers)...)
				case what < 7 && user != other:
					apart[[2]string{user, other}] = !apart[[2]string{user, other}]
					apart[[2]string{other, user}] = apart[[2]string{user, other}]
					w.friends.unfriend(user, other, apart[[2]string{user, other}])
					w.presence.ContactsChanged(user, other)
				case what < 9:
					w.tick()
				default:
					for _, r := range readers {
						r.read(t)
					}
				}
				if t.Failed() {
					t.Fatalf("at step %d", step)
				}
			}
			for range 40 { // MaxNotices may let the last changes wait
				w.tick()
			}
			for _, r := range readers {
				r.read(t)
				delete(r.knows, r.user)
				want := make(map[string]presence.State)
				for _, p := range people {
					if s := w.presence.Visible(p); s != presence.Offline && p != r.user && !apart[[2]string{p, r.user}] {
						want[p] = s
					}
				}
				if !maps.Equal(r.knows, want) {
					t.Errorf("rule P21: in the end %s knows %v, and it is %v", r.user, r.knows, want)
				}
			}
		})
	}
}

// newReader has the last of a user's sessions watch, unless it does.
func newReader(mine []*peer, readers []*reader) []*reader {
	p := mine[len(mine)-1]
	for _, r := range readers {
		if r.peer == p {
			return nil
		}
	}
	p.query() // what has come before does not count
	p.notices = nil
	r := &reader{peer: p, knows: make(map[string]presence.State)}
	for _, e := range p.watchInTicks() {
		r.knows[e.UserID] = e.State
	}
	return []*reader{r}
}
