// Package chatmodel compares a server with package chat with a reference that keeps plain lists. It is for the tests of chat and of its stores.
package chatmodel

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// Seeds is how many programs of requests there are: Run takes 0 to Seeds-1. Users of the last one write to strangers.
const Seeds = 3

// Steps is how many requests Run draws: what the environment variable CHAT_STEPS says, or otherwise the argument.
func Steps(otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv("CHAT_STEPS")); err == nil {
		return n
	}
	return otherwise
}

// Run starts a server with a store that is empty, draws what some users do, who come and go, and compares each answer, each history, and what each
// session hears and is told of others with the reference: rules P19 to P25 and P29 to P39.
func Run(t *testing.T, store chat.Store, seed uint64, steps int) {
	strangers := seed == Seeds-1
	s := &shifted{Store: store}
	w := chattest.NewWorld(t, chat.Config{Store: s, RecentHistory: 4, RecallWindow: hour / 2, Strangers: strangers,
		Limits: chat.Limits{NewGroups: -1, NewRequests: -1, Notices: mostSeen}})
	r := newReference(t, rand.New(rand.NewPCG(seed, 2)), w)
	r.strangers, r.clock = strangers, s
	for range steps {
		r.step()
	}
}

// reference is what should be.
type reference struct {
	*rand.Rand
	t      *testing.T
	w      *chattest.World
	users  []*refUser
	groups []*refGroup
	pairs  map[string]*refConversation // by the two, the lesser first
	log    []string
	clock  *shifted
	hours  int        // that have passed
	before presenceOf // a user whom this step has log on, and what the user had chosen

	strangers bool // users may write to users who are not their friends
}

type refUser struct {
	id       string
	sessions []*refSession
	chosen   protocol.PresenceState
	settings chat.Settings
	contacts map[*refUser]*refContact
}

type refSession struct {
	*chattest.Peer
	want  []string                          // what it must hear next
	knows map[string]protocol.PresenceState // what it was told of others, and of its own user; nil while it does not watch
}

type refContact struct {
	state                               protocol.ContactState
	blocked, blockedAnonymous, declined bool
}

type refGroup struct {
	refConversation
	id                          string
	dissolved                   bool
	muted, takesAnonymous, open bool
	max                         int
	members                     map[*refUser]protocol.GroupRole
	silenced                    map[*refUser]int // until how many hours have passed
	banned                      map[*refUser]bool
}

type refConversation struct{ messages []*refMessage }

type refMessage struct {
	from      *refUser
	id        uuid.UUID
	text      string
	anonymous bool
	hour      int
	recalled  int // by which number
	recalls   int
}

func newReference(t *testing.T, r *rand.Rand, w *chattest.World) *reference {
	ref := &reference{Rand: r, t: t, w: w, pairs: make(map[string]*refConversation)}
	for i := range 4 {
		u := &refUser{id: fmt.Sprint("user", i), settings: chat.DefaultSettings(), contacts: make(map[*refUser]*refContact)}
		for range 1 + i%2 {
			u.sessions = append(u.sessions, &refSession{Peer: w.LogOn(u.id)})
		}
		ref.users = append(ref.users, u)
	}
	for _, u := range ref.users {
		for _, o := range ref.users {
			u.contacts[o] = &refContact{}
		}
	}
	return ref
}

func (r *reference) user() *refUser { return r.users[r.IntN(len(r.users))] }

// other draws a user who is not u.
func (r *reference) other(u *refUser) *refUser {
	for {
		if o := r.user(); o != u {
			return o
		}
	}
}

// step draws a request, and compares.
func (r *reference) step() {
	r.t.Helper()
	u := r.user()
	r.before = presenceOf{}
	n := r.IntN(end)
	if len(u.sessions) == 0 {
		n = comes
	}
	if n >= comes {
		r.changePresence(u, n)
		r.compare()
		return
	}
	p := u.sessions[r.IntN(len(u.sessions))].Peer
	switch {
	case len(r.groups) == 0 || n < 2 && len(r.groups) < 6:
		r.create(u, p)
	case n < 30:
		r.send(u, p)
	case n < 36:
		r.recall(u, p)
	case n < 40:
		r.history(u, p)
	case n < 74:
		r.changeGroup(u, p, r.groups[r.IntN(len(r.groups))])
	case n < 80:
		r.settings(u, p)
	default:
		r.changeContact(u, p, r.other(u))
	}
	r.compare()
}

// ask asks, and wants a code.
func (r *reference) ask(p *chattest.Peer, want protocol.CloseCode, typ uint16, op uint8, content []byte, fields ...string) protocol.Operation {
	r.t.Helper()
	r.log = append(r.log, fmt.Sprintf("%s 0x%04x %d %v: %v", p.User, typ, op, fields, want))
	o, err := p.Ask(typ, op, content, fields...)
	if got := chattest.CodeOf(err); got != want {
		r.t.Fatalf("rule P42: %s is answered %v\n%s", r.log[len(r.log)-1], err, r.lately())
	}
	return o
}

// compare compares what the sessions hear, and what they are told of others.
func (r *reference) compare() {
	r.t.Helper()
	for _, u := range r.users {
		for _, p := range u.sessions {
			_ = p.SetDeadline(time.Now().Add(2 * testkit.Patience)) // a long run takes longer
			p.SyncUntil(func() bool { return len(messages(p.Heard)) >= len(p.want) })
			got := messages(p.Heard)
			if !slices.Equal(got, p.want) {
				r.t.Fatalf("rule P29: %s heard %q, not %q\n%s", u.id, got, p.want, r.lately())
			}
			p.Heard, p.want = nil, nil
			r.compareStates(u, p)
		}
	}
}

// lately is what was done last.
func (r *reference) lately() string { return strings.Join(r.log[max(0, len(r.log)-60):], "\n") }

// messages leaves the notices out of what was heard.
func messages(heard []string) (all []string) {
	for _, s := range heard {
		if !strings.HasPrefix(s, "group ") && !strings.HasPrefix(s, "contact ") {
			all = append(all, s)
		}
	}
	return all
}

func (r *reference) create(u *refUser, p *chattest.Peer) {
	g := &refGroup{max: 2 + r.IntN(3), open: r.IntN(3) > 0, takesAnonymous: r.IntN(2) == 0,
		members: map[*refUser]protocol.GroupRole{u: protocol.RoleOwner}, silenced: map[*refUser]int{}, banned: map[*refUser]bool{}}
	o := r.ask(p, 0, protocol.TypeGroup, protocol.GroupCreate, nil, "max", fmt.Sprint(g.max), "open", bit(g.open), "anonymous", bit(g.takesAnonymous))
	g.id = o.Fields["group"]
	r.groups = append(r.groups, g)
}

// refusal is a code that a request is answered with if it applies.
type refusal struct {
	code    protocol.CloseCode
	applies bool
}

// first returns the code of the first line that applies.
func first(lines ...refusal) protocol.CloseCode {
	for _, l := range lines {
		if l.applies {
			return l.code
		}
	}
	return 0
}

func bit(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// conversation draws where u writes, and says why u may not.
func (r *reference) conversation(u *refUser, anonymous bool) (c *refConversation, fields []string, readers []*refUser, name string, why protocol.CloseCode) {
	if r.IntN(2) == 0 {
		g := r.groups[r.IntN(len(r.groups))]
		why = first(
			refusal{protocol.SendingOff, !u.settings.Send},
			refusal{protocol.NoSuchGroup, g.dissolved},
			refusal{protocol.Banned, g.banned[u]},
			refusal{protocol.NotMember, !g.in(u)},
			refusal{protocol.MemberMuted, g.silenced[u] > r.hours},
			refusal{protocol.GroupMuted, g.muted && g.members[u] == protocol.RoleMember},
			refusal{protocol.GroupNoAnonymous, anonymous && !g.takesAnonymous},
		)
		for m := range g.members {
			readers = append(readers, m)
		}
		return &g.refConversation, []string{"group", g.id}, readers, g.id, why
	}
	o := r.other(u)
	back := o.contacts[u]
	why = first(
		refusal{protocol.SendingOff, !u.settings.Send},
		refusal{protocol.Blocked, back.blocked || anonymous && back.blockedAnonymous},
		refusal{protocol.ReceivingOff, !o.settings.Receive},
		refusal{protocol.UserNoAnonymous, anonymous && !o.settings.Anonymous},
		refusal{protocol.NotFriends, !anonymous && u.contacts[o].state != protocol.ContactFriend && !r.strangers},
	)
	key, name, readers := pairName(u, o), u.id+">"+o.id, []*refUser{u, o}
	if anonymous {
		key, name, readers = o.id, "_anonymous>"+o.id, []*refUser{o}
	}
	if r.pairs[key] == nil {
		r.pairs[key] = &refConversation{}
	}
	return r.pairs[key], []string{"user", o.id}, readers, name, why
}

func pairName(u, o *refUser) string { return min(u.id, o.id) + "+" + max(u.id, o.id) }

func (g *refGroup) in(u *refUser) bool {
	_, in := g.members[u]
	return in
}

func (r *reference) send(u *refUser, p *chattest.Peer) {
	anonymous := r.IntN(5) == 0
	c, fields, readers, name, why := r.conversation(u, anonymous)
	m := &refMessage{from: u, id: uuid.New(), text: fmt.Sprint("text ", len(r.log)), anonymous: anonymous}
	if len(c.messages) > 0 && r.IntN(6) == 0 && why != protocol.NoSuchGroup && !r.isDissolved(fields) { // again
		if old := c.messages[r.IntN(len(c.messages))]; old.from == u && old.recalls == 0 && old.anonymous == anonymous {
			o := r.ask(p, 0, protocol.TypeChat, protocol.ChatSend, chattest.Post(old.id, "other"), append(fields, "anonymous", bit(anonymous))...)
			if want := fmt.Sprint(slices.Index(c.messages, old) + 1); o.Fields["seq"] != want {
				r.t.Fatalf("rule P33: a repeated message has the number %s, not %s", o.Fields["seq"], want)
			}
			return
		}
	}
	o := r.ask(p, why, protocol.TypeChat, protocol.ChatSend, chattest.Post(m.id, m.text), append(fields, "anonymous", bit(anonymous))...)
	if why == 0 {
		r.stored(c, m, o, p, readers, name)
	}
}

func (r *reference) isDissolved(fields []string) bool {
	return slices.ContainsFunc(r.groups, func(g *refGroup) bool { return g.dissolved && g.id == fields[1] })
}

// stored notes a message, and what is heard of it.
func (r *reference) stored(c *refConversation, m *refMessage, o protocol.Operation, p *chattest.Peer, readers []*refUser, name string) {
	m.hour = r.hours
	c.messages = append(c.messages, m)
	if want := fmt.Sprint(len(c.messages)); o.Fields["seq"] != want {
		r.t.Fatalf("rule P29: a message has the number %s, not %s", o.Fields["seq"], want)
	}
	for _, u := range readers {
		for _, s := range u.sessions {
			if s.Peer != p {
				s.want = append(s.want, name+c.line(len(c.messages)))
			}
		}
	}
}

// line is a message as the test's line writes it.
func (c *refConversation) line(seq int) string {
	m := c.messages[seq-1]
	w := protocol.StoredMessage{Seq: uint64(seq), Anonymous: m.anonymous, Recalled: m.recalled != 0, Recalls: uint64(m.recalls), Content: []byte(m.text)}
	if !m.anonymous {
		w.From = m.from.id
	}
	if w.Recalled {
		w.Content = nil
	}
	return chattest.Line(w)
}

func (r *reference) recall(u *refUser, p *chattest.Peer) {
	anonymous := r.IntN(5) == 0
	c, fields, readers, name, _ := r.conversation(u, anonymous)
	seq := 1 + r.IntN(len(c.messages)+1)
	var m *refMessage
	if seq <= len(c.messages) {
		m = c.messages[seq-1]
	}
	var why protocol.CloseCode
	if fields[0] == "group" {
		g := r.groups[slices.IndexFunc(r.groups, func(g *refGroup) bool { return g.id == fields[1] })]
		why = first(refusal{protocol.NoSuchGroup, g.dissolved}, refusal{protocol.NotMember, !g.in(u)})
	}
	if why == 0 {
		why = first(refusal{protocol.NoSuchMessage, m == nil || m.recalls != 0}, refusal{protocol.NotYours, m != nil && m.from != u},
			refusal{protocol.Incomplete, m != nil && m.anonymous != anonymous}, refusal{0, m != nil && m.recalled != 0},
			refusal{protocol.RecallExpired, m != nil && m.hour < r.hours})
	}
	o := r.ask(p, why, protocol.TypeChat, protocol.ChatRecall, nil, append(fields, "anonymous", bit(anonymous), "seq", fmt.Sprint(seq))...)
	switch {
	case why != 0:
	case m.recalled != 0:
		if o.Fields["seq"] != fmt.Sprint(m.recalled) {
			r.t.Fatalf("rule P32: the second recall has the number %s, not %d", o.Fields["seq"], m.recalled)
		}
	default:
		m.recalled = len(c.messages) + 1
		r.stored(c, &refMessage{from: u, anonymous: anonymous, recalls: seq}, o, p, readers, name)
	}
}

func (r *reference) history(u *refUser, p *chattest.Peer) {
	c, fields, _, _, _ := r.conversation(u, false)
	var why protocol.CloseCode
	if fields[0] == "group" {
		g := r.groups[slices.IndexFunc(r.groups, func(g *refGroup) bool { return g.id == fields[1] })]
		why = first(refusal{protocol.NoSuchGroup, g.dissolved}, refusal{protocol.NotMember, !g.in(u)})
	}
	limit := 1 + r.IntN(5)
	from, to := max(0, len(c.messages)-limit), len(c.messages)
	fields = append(fields, "limit", fmt.Sprint(limit))
	switch r.IntN(3) {
	case 0:
		after := r.IntN(len(c.messages) + 1)
		from, to = after, min(after+limit, len(c.messages))
		fields = append(fields, "after", fmt.Sprint(after))
	case 1:
		before := 1 + r.IntN(len(c.messages)+1)
		from, to = max(0, before-1-limit), before-1
		fields = append(fields, "before", fmt.Sprint(before))
	}
	o := r.ask(p, why, protocol.TypeChat, protocol.ChatHistory, nil, fields...)
	if why != 0 {
		return
	}
	var want []string
	for seq := from + 1; seq <= to; seq++ {
		want = append(want, c.line(seq))
	}
	if got := chattest.Lines(testkit.Must(protocol.ParseStoredMessages(o.Content))); !slices.Equal(got, want) {
		r.t.Fatalf("rule P31: with %v the page is %q, not %q", fields, got, want)
	}
}

func (r *reference) settings(u *refUser, p *chattest.Peer) {
	on := r.IntN(3) > 0
	switch r.IntN(4) {
	case 0:
		u.settings.Send = on
		r.ask(p, 0, protocol.TypeContacts, protocol.ContactSettings, nil, "send", bit(on))
	case 1:
		u.settings.Receive = on
		r.ask(p, 0, protocol.TypeContacts, protocol.ContactSettings, nil, "receive", bit(on))
	case 2:
		u.settings.Anonymous = on
		r.ask(p, 0, protocol.TypeContacts, protocol.ContactSettings, nil, "anonymous", bit(on))
	default:
		u.settings.Requests = chat.Requests(r.IntN(3))
		r.ask(p, 0, protocol.TypeContacts, protocol.ContactSettings, nil, "requests", u.settings.Requests.String())
	}
}
