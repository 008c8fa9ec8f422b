package admin

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	ringSize     = 1000 // events that a watcher who comes back may still get
	maxWatchers  = 32
	watcherQueue = 256 // events that wait for one watcher; what does not fit is counted
)

// kinds are the kinds of events.
var kinds = []string{"online", "offline", "connected", "disconnected", "pushedOut", "ignored", "timedOut", "expired", "tagged", "userTagged"}

// eventView is what is shown of an event.
type eventView struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	User    string    `json:"user"`
	Code    int       `json:"code,omitempty"` // of a disconnected
	Why     string    `json:"why,omitempty"`  // the code's name
	By      string    `json:"by,omitempty"`   // the address that a pushedOut or an ignored is caused by
	Old     string    `json:"old,omitempty"`  // the tag before
	Tag     string    `json:"tag,omitempty"`  // the tag now
	Session *session  `json:"session,omitempty"`
}

// event is one that was told. text is its JSON.
type event struct {
	n          uint64
	kind, user string
	text       []byte
}

// hub passes events on to watchers. It is subscribed to the user manager while there are any. An event handler of it takes a lock for a moment
// and never waits for a watcher.
type hub struct {
	admin *Admin
	epoch string // of this Admin: the numbers of another one say nothing here

	mu          sync.Mutex
	watchers    map[*watcher]struct{}
	ring        []event // the last ones, the oldest first from at on
	at          int
	last        uint64 // the number of the last event
	since       uint64 // the number before the first event of this subscription: those before it were told to no one
	unsubscribe func()
	closed      bool
	changing    sync.Mutex // held while the subscription is changed; taken before mu
}

// watcher is a stream that events are sent to.
type watcher struct {
	kinds   map[string]bool // nil for all
	user    string          // "" for all
	queue   chan event
	leftOut uint64 // events that did not fit; under the hub's mu
}

func (w *watcher) wants(e *event) bool {
	return (w.user == "" || w.user == e.user) && (w.kinds == nil || w.kinds[e.kind])
}

func (h *hub) init(a *Admin) {
	h.admin, h.watchers = a, make(map[*watcher]struct{})
	var epoch [4]byte
	_, _ = rand.Read(epoch[:]) // never fails
	h.epoch = hex.EncodeToString(epoch[:])
}

// join adds a watcher and returns the events after the number after, as far as they are known and wanted; missed says that some of them
// are not known. Without after the watcher begins with the next event. last is the number of the last event before what the watcher gets
// later. ok is false when there are too many watchers, or none are let in any more.
func (h *hub) join(w *watcher, after *uint64) (before []event, last uint64, missed, ok bool) {
	h.changing.Lock()
	defer h.changing.Unlock()
	h.mu.Lock()
	if h.closed || len(h.watchers) >= maxWatchers {
		h.mu.Unlock()
		return nil, 0, false, false
	}
	first := len(h.watchers) == 0
	if first { // what has happened meanwhile has no numbers: one is left out for it
		h.last++
		h.since, h.ring, h.at = h.last, nil, 0
	}
	if after != nil {
		missed = *after < h.since || *after > h.last || *after < h.last-uint64(len(h.ring))
		for i := range h.ring {
			if e := &h.ring[(h.at+i)%len(h.ring)]; (e.n > *after || *after > h.last) && w.wants(e) {
				before = append(before, *e)
			}
		}
	}
	h.watchers[w] = struct{}{}
	last = h.last
	h.mu.Unlock()
	if first {
		h.unsubscribe = h.admin.cfg.Users.Subscribe(h.events())
	}
	return before, last, missed, true
}

// leave removes a watcher.
func (h *hub) leave(w *watcher) {
	h.changing.Lock()
	defer h.changing.Unlock()
	h.mu.Lock()
	delete(h.watchers, w)
	last := len(h.watchers) == 0
	h.mu.Unlock()
	if last && h.unsubscribe != nil {
		h.unsubscribe()
		h.unsubscribe = nil
		h.mu.Lock()
		h.ring = nil
		h.mu.Unlock()
	}
}

// close lets in no more watchers.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers)
}

// lastFor returns the number of the last event, when the watcher has nothing to get before it.
func (h *hub) lastFor(w *watcher) (n uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last, len(w.queue) == 0
}

// tookLeftOut returns how many events have not fitted since the last call.
func (h *hub) tookLeftOut(w *watcher) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := w.leftOut
	w.leftOut = 0
	return n
}

// tell numbers an event and passes it on.
func (h *hub) tell(v eventView) {
	v.At = time.Now()
	text, err := json.Marshal(v)
	if err != nil {
		return // text, numbers and times always have a form
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) == 0 { // an event that was under way when the last watcher left
		return
	}
	h.last++
	e := event{h.last, v.Kind, v.User, text}
	if len(h.ring) < ringSize {
		h.ring = append(h.ring, e)
	} else {
		h.ring[h.at] = e
		h.at = (h.at + 1) % ringSize
	}
	for w := range h.watchers {
		if !w.wants(&e) {
			continue
		}
		select {
		case w.queue <- e:
		default:
			w.leftOut++
		}
	}
}

// events are the handlers of the subscription.
func (h *hub) events() usermgr.Events {
	of := func(s usermgr.SessionInfo, kind string) eventView {
		v := h.admin.plainView(&s)
		return eventView{Kind: kind, User: s.UserID, Session: &v}
	}
	return usermgr.Events{
		Online:    func(u usermgr.UserData) { h.tell(eventView{Kind: "online", User: u.UserID}) },
		Offline:   func(u usermgr.UserData) { h.tell(eventView{Kind: "offline", User: u.UserID}) },
		Connected: func(s usermgr.SessionInfo) { h.tell(of(s, "connected")) },
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
			v := of(s, "disconnected")
			v.Code, v.Why = int(why), codeName(why)
			h.tell(v)
		},
		PushedOut: func(old usermgr.SessionInfo, by usermgr.Address) {
			v := of(old, "pushedOut")
			v.By = by.String()
			h.tell(v)
		},
		Ignored: func(userID string, by usermgr.Address) {
			h.tell(eventView{Kind: "ignored", User: userID, By: by.String()})
		},
		TimedOut: func(s usermgr.SessionInfo) { h.tell(of(s, "timedOut")) },
		Expired:  func(s usermgr.SessionInfo) { h.tell(of(s, "expired")) },
		Tagged: func(s usermgr.SessionInfo, old string) {
			v := of(s, "tagged")
			v.Old, v.Tag = old, s.Tag
			h.tell(v)
		},
		UserTagged: func(u usermgr.UserData, old string) {
			h.tell(eventView{Kind: "userTagged", User: u.UserID, Old: old, Tag: u.Tag})
		},
	}
}
