package chat_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
)

// P23: two worlds, one with bob in Stealth and one with bob offline, in which ann, who is his friend, carol, who is in a group with him, and eve, who is
// a stranger, ask all that a client can ask. None of them gets a byte that is another one, but for the times of what they do themselves, and
// each of their requests has the same calls of the store made.
func TestStealthLooksOfflineInEveryAnswer(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			compareWorlds(t, playStealth(t, seed, true, time.Hour), playStealth(t, seed, false, time.Hour))
		})
	}
}

func compareWorlds(t *testing.T, hidden, offline []look) {
	t.Helper()
	if len(hidden) != len(offline) {
		t.Fatalf("%d questions were asked of a user in Stealth, and %d of one who is offline", len(hidden), len(offline))
	}
	for i, h := range hidden {
		o := offline[i]
		for user := range h.got {
			if !bytes.Equal(h.got[user], o.got[user]) {
				t.Errorf("rule P23: %s: %s gets\n%x while bob is in Stealth, and\n%x while he is offline", h.what, user, h.got[user], o.got[user])
			}
		}
		if !slices.Equal(h.calls, o.calls) {
			t.Errorf("rule P23: %s: the store is called\n%s while bob is in Stealth, and\n%s while he is offline", h.what,
				strings.Join(h.calls, "\n"), strings.Join(o.calls, "\n"))
		}
	}
}

// P23: whatever bob, who is in Stealth, and others do, others are told nothing of him.
func TestStealthIsToldToNobody(t *testing.T) {
	for _, l := range playStealth(t, 0, true, -1) {
		for user, seen := range l.seen {
			for _, s := range seen {
				if strings.HasPrefix(s, "bob ") {
					t.Errorf("rule P23: %s: %s is told %q", l.what, user, s)
				}
			}
		}
	}
}

// look is what became of a question.
type look struct {
	what  string
	got   map[string][]byte // by users
	seen  map[string][]string
	calls []string // of the store
}

// twoWorlds is a server on which some users ask about bob.
type twoWorlds struct {
	*chattest.World
	store  *recordingStore
	began  time.Time
	others []*chattest.Peer // ann, carol and eve
	looks  []look
	posts  byte
	rnd    *rand.Rand // the order of the questions; nil for the order in which they are written
}

// playStealth has them ask, and bob, where he is in Stealth, do what a user does between their questions. The seed is that of the questions' order; with
// 0 it is one that makes sense.
func playStealth(t *testing.T, seed uint64, stealth bool, interval time.Duration) []look {
	w := &twoWorlds{store: &recordingStore{Memory: chat.NewMemory()}, began: time.Now()}
	if seed > 0 {
		w.rnd = rand.New(rand.NewPCG(seed, 23))
	}
	fillStealth(t, w.store.Memory)
	w.World = chattest.NewWorld(t, chat.Config{Store: w.store, Strangers: true, Presence: presence.Config{Interval: interval}})
	defer w.End()
	for _, user := range []string{"ann", "carol", "eve"} {
		w.others = append(w.others, w.LogOn(user))
	}
	w.Online("ann", "carol", "eve")
	w.others[1].Watch() // the members of the group are known from here on, in both worlds
	w.sync()
	var phone, laptop *chattest.Peer
	for _, deed := range []func(){
		func() {},
		func() {
			phone = w.LogOn("bob")
			choose(phone, presence.Stealth) // answered when his record is there
		},
		func() { laptop = w.LogOn("bob", "presence", "stealth") },
		func() { laptop.Watch() },
		func() { laptop.History("7"); laptop.Group(protocol.GroupMembers, "7") },
		func() { _ = phone.Close() },
		func() {
			_ = laptop.Close()
			testkit.Eventually(t, "bob has gone", func() bool { return len(w.Users.Links("bob")) == 0 })
		},
	} {
		if stealth {
			deed()
		}
		w.askAll()
	}
	return w.looks
}

// fillStealth stores who is whose friend, and what they have written.
func fillStealth(t *testing.T, store *chat.Memory) {
	t.Helper()
	ctx, then := t.Context(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"ann", "bob", "carol", "eve"} {
		must(store.UpdateUser(ctx, user, func(u *chat.User) error {
			u.Exists, u.SetUp, u.Created = true, true, then
			return nil
		}))
	}
	must(store.SavePresence(ctx, []presence.Record{{UserID: "bob", Wanted: presence.Stealth, LastOnline: then, LastSeen: then.Add(time.Hour)}}))
	must(store.UpdateContact(ctx, "ann", "bob", func(r *chat.Relation) error {
		r.AB.State, r.BA.State, r.AB.Since, r.BA.Since = chat.Friend, chat.Friend, then, then
		return nil
	}))
	must(store.CreateGroup(ctx, chat.Group{ID: 7, Owner: "ann", MaxMembers: 10, Open: true}, func(int) error { return nil }))
	testkit.Must(store.UpdateGroup(ctx, 7, []string{"bob", "carol"}, func(_ *chat.Group, users []chat.Member) error {
		users[0].In, users[1].In = true, true
		return nil
	}))
	must(store.Append(ctx, []*chat.Post{
		{Group: 7, From: "bob", ID: uuid.UUID{1}, Type: 1, Content: []byte("hello"), Time: then},
		{To: "ann", From: "bob", ID: uuid.UUID{2}, Type: 1, Content: []byte("hello ann"), Time: then},
	}, func(*chat.Post, *chat.Standing) error { return nil }))
}

// askAll has each of the others ask all that there is.
func (w *twoWorlds) askAll() {
	const until = "4000000000000"
	about := []string{"user", "bob"}
	group := []string{"group", "7"}
	both := slices.Concat(group, about)
	var questions []func()
	for _, p := range w.others {
		question := func(what string, ask func()) {
			questions = append(questions, func() { w.look(p.User+" asks "+what, ask) })
		}
		ask := func(what string, typ uint16, op uint8, content []byte, fields ...string) {
			question(what, func() { _, _ = p.Ask(typ, op, content, fields...) })
		}
		sees := func() {
			ask("Watch", protocol.TypePresence, protocol.PresenceWatch, nil)
			ask("Query", protocol.TypePresence, protocol.PresenceQuery, chattest.IDs("bob", "nobody"))
			ask("Query again", protocol.TypePresence, protocol.PresenceQuery, chattest.IDs("bob"))
			question("who is online", func() { p.WhoIsOnline("bob", "nobody", p.User) })
			ask("Members", protocol.TypeGroup, protocol.GroupMembers, nil, group...)
			ask("Members by pages", protocol.TypeGroup, protocol.GroupMembers, nil, append([]string{"cursor", "ann", "limit", "1"}, group...)...)
			ask("List", protocol.TypeContacts, protocol.ContactList, nil)
		}
		say := func(what string, fields ...string) {
			w.posts++
			ask(what, protocol.TypeChat, protocol.ChatSend, chattest.Post(uuid.UUID{9, w.posts}, "hi"), fields...)
		}
		sees()
		ask("Settings", protocol.TypeContacts, protocol.ContactSettings, nil)
		ask("Request", protocol.TypeContacts, protocol.ContactRequest, nil, about...)
		ask("Request again", protocol.TypeContacts, protocol.ContactRequest, nil, about...)
		ask("Answer", protocol.TypeContacts, protocol.ContactAnswer, nil, about...)
		ask("Info", protocol.TypeGroup, protocol.GroupInfo, nil, group...)
		ask("Join", protocol.TypeGroup, protocol.GroupJoin, nil, group...)
		say("Send to the group", group...)
		say("Send to bob", about...)
		say("Send to bob without a name", append([]string{"anonymous", "1"}, about...)...)
		ask("History of the group", protocol.TypeChat, protocol.ChatHistory, nil, group...)
		ask("History with bob", protocol.TypeChat, protocol.ChatHistory, nil, about...)
		ask("Recall", protocol.TypeChat, protocol.ChatRecall, nil, append([]string{"seq", "2"}, about...)...)
		ask("Conversations", protocol.TypeChat, protocol.ChatConversations, nil)
		ask("Mute", protocol.TypeGroup, protocol.GroupMute, nil, append([]string{"until-ms", until}, both...)...)
		ask("Members of whom one is muted", protocol.TypeGroup, protocol.GroupMembers, nil, group...)
		ask("Mute until 0", protocol.TypeGroup, protocol.GroupMute, nil, append([]string{"until-ms", "0"}, both...)...)
		ask("SetRole", protocol.TypeGroup, protocol.GroupSetRole, nil, append([]string{"role", "1"}, both...)...)
		ask("SetRole back", protocol.TypeGroup, protocol.GroupSetRole, nil, append([]string{"role", "0"}, both...)...)
		ask("Ban", protocol.TypeGroup, protocol.GroupBan, nil, append([]string{"remove", "1"}, both...)...)
		sees()
		ask("Ban off", protocol.TypeGroup, protocol.GroupBan, nil, append([]string{"on", "0"}, both...)...)
		ask("Add", protocol.TypeGroup, protocol.GroupAdd, chattest.IDs("bob"), group...)
		ask("Remove from the group", protocol.TypeGroup, protocol.GroupRemove, chattest.IDs("bob"), group...)
		ask("Add again", protocol.TypeGroup, protocol.GroupAdd, chattest.IDs("bob"), group...)
		ask("Block", protocol.TypeContacts, protocol.ContactBlock, nil, about...)
		sees()
		ask("Block off", protocol.TypeContacts, protocol.ContactBlock, nil, append([]string{"on", "0"}, about...)...)
		ask("Remove", protocol.TypeContacts, protocol.ContactRemove, nil, about...)
		if p.User == "eve" {
			ask("Leave", protocol.TypeGroup, protocol.GroupLeave, nil, group...)
		}
	}
	if w.rnd != nil {
		w.rnd.Shuffle(len(questions), func(i, j int) { questions[i], questions[j] = questions[j], questions[i] })
	}
	for _, ask := range questions {
		ask()
	}
	w.reset()
}

// reset makes ann and bob friends again, and bob a member who may write.
func (w *twoWorlds) reset() {
	w.T.Helper()
	for _, p := range w.others {
		err := w.store.Memory.UpdateContact(w.T.Context(), p.User, "bob", func(r *chat.Relation) error {
			r.AB.Blocked = false
			if p.User == "ann" {
				r.AB.State, r.BA.State = chat.Friend, chat.Friend
			}
			return nil
		})
		if err != nil {
			w.T.Fatal(err)
		}
	}
	if err := w.Chat.Ban(w.T.Context(), chat.Server, 7, "bob", false, false); err != nil {
		w.T.Fatal(err)
	}
	testkit.Must(w.Chat.AddMembers(w.T.Context(), chat.Server, 7, []string{"bob"}))
	for _, err := range []error{
		w.Chat.Mute(w.T.Context(), chat.Server, 7, "bob", time.Time{}),
		w.Chat.SetRole(w.T.Context(), chat.Server, 7, "bob", chat.Ordinary),
	} {
		if err != nil {
			w.T.Fatal(err)
		}
	}
	w.sync()
}

// sync waits until all that was done has come to all.
func (w *twoWorlds) sync() {
	for _, p := range w.others {
		p.Sync()
	}
}

// look notes what becomes of a question.
func (w *twoWorlds) look(what string, ask func()) {
	w.T.Helper()
	l := look{what: what, got: map[string][]byte{}, seen: map[string][]string{}}
	for _, p := range w.others {
		p.Bytes, p.Seen = nil, nil
	}
	w.store.take()
	ask()
	w.sync()
	l.calls = w.store.take()
	for _, p := range w.others {
		l.got[p.User], l.seen[p.User] = w.withoutTimes(p.Bytes), p.Seen
	}
	w.looks = append(w.looks, l)
}

var milliseconds = regexp.MustCompile(`\d{13}`)

// withoutTimes replaces the times since the world began, and the IDs of recalls, which the server draws.
func (w *twoWorlds) withoutTimes(b []byte) []byte {
	first, last := uint64(w.began.UnixMilli()), uint64(time.Now().UnixMilli())
	b = milliseconds.ReplaceAllFunc(b, func(text []byte) []byte {
		if n := testkit.Must(parseNumber(text)); n < first || n > last {
			return text
		}
		return make([]byte, len(text))
	})
	for i := 0; i+8 <= len(b); i++ {
		if n := binary.BigEndian.Uint64(b[i:]); n >= first && n <= last {
			clear(b[i : i+8])
		}
	}
	for i := 16; i+len(recallAtNoTime) <= len(b); i++ {
		if bytes.HasPrefix(b[i:], recallAtNoTime) {
			clear(b[i-16 : i])
		}
	}
	return b
}

// recallAtNoTime is what follows the ID of a recall: its time, which is replaced already, its flags and its type.
var recallAtNoTime = []byte{8: 4, 10: 0}

func parseNumber(text []byte) (n uint64, err error) {
	_, err = fmt.Sscan(string(text), &n)
	return n, err
}
