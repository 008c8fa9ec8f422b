package bridge

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Group is a set of users and sessions that get messages together, such as a room or a game. All members get its messages in one
// order, whichever goroutines and event loops send. A member who goes offline leaves the group. Groups are in the memory of this
// process and reach the sessions on this bridge's engine.
//
// All methods may be called from any goroutine, event loops and event handlers included, and do not block. A group without members
// and subscribers takes no memory but that of the *Group itself, which stays usable. Rule 28 of docs/contract.md has all promises
// of a group.
type Group struct {
	bridge *Bridge
	name   string
	listed atomic.Bool // can be found by its name: it has members or subscribers; changed under its shard's lock

	mu      sync.Mutex
	members []*member      // sorted by user; a user comes before that user's sessions
	conns   []*engine.Conn // of the members, sorted by number, each once; empty unless built
	built   bool           // conns is kept
	used    bool           // Send was called since the last sweep
	news    *news          // nil without subscribers
}

// Member is a user or a session in a group: Member{UserID: "bob"} is a user, with all sessions, and Member{Conn: c} is the one session on a
// connection. A session that Members or an event returns has its UserID too.
type Member struct {
	UserID string
	Conn   *engine.Conn
}

// Group returns the group with this name; any text is a name. A group need not be created or removed: it has no members until some
// join.
func (b *Bridge) Group(name string) *Group {
	b.groupsOnce.Do(func() { b.groups.Store(newGroups(b)) })
	if g := b.groups.Load().find(name); g != nil {
		return g
	}
	return &Group{bridge: b, name: name}
}

// Join makes a user a member, with all sessions that the user has or will have, until Leave or until the user goes offline (after
// OfflineGrace, where it is set). It makes a session a member until Leave or until the session ends; a session that replaces it is not
// a member. Joining again does nothing. The error is a protocol.UserOffline for a user who is not online, or a connection without a
// session on this bridge, and errors.ErrUnsupported for a user manager without the method Subscribe.
func (g *Group) Join(m Member) error {
	s := g.bridge.groups.Load()
	if err := s.subscribe(); err != nil {
		return err
	}
	k, online := g.bridge.keyOf(m)
	if !online {
		return errOffline
	}
	joined, n := s.join(k, g)
	if k.conn == nil {
		s.update(joined)
	}
	if _, online = g.bridge.keyOf(m); !online { // it may have gone before the group could be told
		s.leaveAllSince(joined, n)
	}
	return nil
}

// Leave ends a membership, and reports whether there was one. After Leave has returned the user, or the session, gets no further
// messages of the group, unless it is a member in the other way too: the user by one of the sessions, or the session by its user.
func (g *Group) Leave(m Member) bool {
	s := g.bridge.groups.Load()
	k := key{user: m.UserID, conn: m.Conn}
	member := s.member(k)
	return member != nil && s.leave(member, g)
}

// Members returns a copy of the list of members, ordered by user ID; a user comes before sessions of that user.
func (g *Group) Members() []Member {
	if g = g.now(); g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Member, len(g.members))
	for i, m := range g.members {
		all[i] = m.public()
	}
	return all
}

// Send sends a message of the application to all members, and returns the number of connections that it was queued for. A connection
// gets it once, also when both its user and its session are members. Members that joined before the call get the message. The
// error is engine.Engine.Broadcast's, or says that the type is the system's (use SendMessage for those). The body is copied before
// Send returns.
func (g *Group) Send(typ uint16, body []byte) (n int, err error) {
	if typ >= protocol.FirstSystemType {
		return 0, fmt.Errorf("rollcall: message type 0x%04x is the system's", typ)
	}
	return g.SendMessage(&protocol.Message{Type: typ, Body: body}, nil)
}

// SendMessage is Send for any message, such as one that carries its sender's UserID. The members of except do not get it, for example
// its sender: a user with all current sessions, or one session. Nil options mean engine.Config.SlowPolicy for members that do not keep
// up; such members do not delay the others. The options' Report is called when the message is queued for all.
func (g *Group) SendMessage(m *protocol.Message, o *engine.SendOptions, except ...Member) (n int, err error) {
	to := g.now()
	if to == nil {
		return 0, nil
	}
	var without []*engine.Conn
	for _, m := range except {
		if m.Conn != nil {
			without = append(without, m.Conn)
		} else {
			without = slices.AppendSeq(without, g.bridge.ConnsOf(m.UserID))
		}
	}
	return g.bridge.hidden.BroadcastInOrder(&to.mu, to.reached(without), m, o)
}

// reached yields the members' connections. g.mu is held while it runs.
func (g *Group) reached(except []*engine.Conn) iter.Seq[*engine.Conn] {
	return func(yield func(*engine.Conn) bool) {
		g.build()
		for _, c := range g.conns {
			if len(except) > 0 && slices.Contains(except, c) {
				continue
			}
			if !yield(c) {
				return
			}
		}
	}
}

// now returns the listed group with g's name. It returns nil when there is none: then the group has no members and no
// subscribers.
func (g *Group) now() *Group {
	if g.listed.Load() {
		return g
	}
	return g.bridge.groups.Load().find(g.name)
}

// add adds a member, and reports whether the group is the listed one. On entry the member's lock is held, and g.mu is
// not.
func (g *Group) add(m *member) (added, listed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.listed.Load() {
		return false, false
	}
	i, found := g.find(m.key)
	if found {
		return false, true
	}
	g.members = slices.Insert(grown(g.members), i, m)
	for c := range m.all {
		g.insert(c)
	}
	g.tell(event{member: m.public(), joined: true})
	return true, true
}

// remove removes a member, and reports whether it was one. The member's lock is held on entry.
func (g *Group) remove(m *member, offline bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, found := g.find(m.key)
	if !found || g.members[i] != m {
		return false
	}
	g.members = shrunk(slices.Delete(g.members, i, i+1))
	for c := range m.all {
		g.withdraw(m.user, c)
	}
	g.tell(event{member: m.public(), offline: offline})
	g.forgetIfUnused()
	return true
}

// exchange replaces a member's connections. The member's lock is held on entry.
func (g *Group) exchange(m *member, before, now []*engine.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range before {
		g.withdraw(m.user, c)
	}
	for _, c := range now {
		g.insert(c)
	}
}

// forgetIfUnused unlists a group that has no members and no subscribers. g.mu is held on entry.
func (g *Group) forgetIfUnused() {
	if len(g.members) == 0 && g.news == nil {
		g.bridge.groups.Load().unlist(g)
		g.conns, g.built = nil, false
	}
}

// find returns the index of a member, or the index at which to insert it. g.mu is held on entry.
func (g *Group) find(k key) (int, bool) {
	return slices.BinarySearchFunc(g.members, k, func(m *member, k key) int { return m.compare(k) })
}

// insert adds a connection to conns, unless it is in it. g.mu is held on entry.
func (g *Group) insert(c *engine.Conn) {
	if !g.built {
		return
	}
	if i, found := slices.BinarySearchFunc(g.conns, c.ID(), compareConn); !found {
		g.conns = slices.Insert(g.conns, i, c)
	}
}

// withdraw removes a connection from conns, unless another member has it. g.mu is held on entry.
func (g *Group) withdraw(userID string, c *engine.Conn) {
	if !g.built {
		return
	}
	if i, found := g.find(key{user: userID}); found && g.members[i].has(c) {
		return
	}
	if _, found := g.find(key{user: userID, conn: c}); found {
		return
	}
	if i, found := slices.BinarySearchFunc(g.conns, c.ID(), compareConn); found {
		g.conns = slices.Delete(g.conns, i, i+1)
	}
}

// build makes conns, sorted by number, because connections with neighbouring numbers are neighbours in memory. The list
// is kept until the group has not been used for a while. g.mu is held on entry.
func (g *Group) build() {
	g.used = true
	if g.built {
		return
	}
	type numbered struct {
		id   uint64
		conn *engine.Conn
	}
	all := make([]numbered, 0, len(g.members))
	for _, m := range g.members {
		for c := range m.all {
			all = append(all, numbered{c.ID(), c})
		}
	}
	slices.SortFunc(all, func(a, b numbered) int { return cmp.Compare(a.id, b.id) })
	g.conns = make([]*engine.Conn, 0, len(all))
	for i, n := range all {
		if i == 0 || n.conn != all[i-1].conn {
			g.conns = append(g.conns, n.conn)
		}
	}
	g.built = true
	g.bridge.groups.Load().active.add(g)
}

func compareConn(c *engine.Conn, id uint64) int { return cmp.Compare(c.ID(), id) }

// compare orders members by user. A user comes before that user's sessions; sessions are ordered by connection.
func (m *member) compare(k key) int {
	if c := strings.Compare(m.user, k.user); c != 0 {
		return c
	}
	return cmp.Compare(number(m.conn), number(k.conn))
}

// number returns the connection's number; 0 for nil.
func number(c *engine.Conn) uint64 {
	if c == nil {
		return 0
	}
	return c.ID()
}

// grown returns a list with room for one more item, and a sixteenth to spare. append would take a quarter more, or
// twice as much.
func grown[T any](list []T) []T {
	if len(list) < cap(list) {
		return list
	}
	return append(slices.Grow([]T(nil), len(list)+len(list)/16+1), list...)
}

// shrunk returns a list without the spare capacity that it does not need any more.
func shrunk[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	if cap(list) > 8 && len(list) < cap(list)*3/4 {
		return append(slices.Grow([]T(nil), len(list)+len(list)/16+1), list...)
	}
	return list
}
