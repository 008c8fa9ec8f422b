package chat_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// A7: a message is stored and numbered, and then delivered to each session of each member, but not to the one that has sent it.
func TestA7AMessageIsStoredThenDelivered(t *testing.T) {
	store := &watchedStore{Store: chat.NewMemory()}
	w := newWorld(t, chat.Config{Store: store})
	ann, phone, bob, eve := w.logOn("ann"), w.logOn("ann"), w.logOn("bob"), w.logOn("eve")
	group := ann.create("name", "climbing")
	bob.join(group)
	for _, p := range []*peer{ann, phone, bob} {
		p.forget()
	}
	if n := ann.say(group, "hello"); n != 1 {
		t.Errorf("rule P29: the first message has the number %d", n)
	}
	if n := bob.say(group, "hi"); n != 2 {
		t.Errorf("rule P29: the second message has the number %d", n)
	}
	ann.wantHeard("P29", group+"#2 bob: hi")
	phone.wantHeard("P29", group+"#1 ann: hello", group+"#2 bob: hi")
	bob.wantHeard("P29", group+"#1 ann: hello")
	eve.wantHeard("P29")

	befriend(ann, bob)
	phone.forget()
	ann.say("bob", "psst")
	bob.wantHeard("P29", "ann>bob#1 ann: psst")
	phone.wantHeard("P29", "ann>bob#1 ann: psst")
	ann.wantHeard("P29")

	// What the store cannot take no reader gets; the sender may repeat it.
	id := uuid.New()
	store.fail.Store(true)
	request := ann.begin(protocol.TypeChat, protocol.ChatSend, post(id, "again"), "group", group)
	testkit.Eventually(t, "the store has failed", func() bool { return store.failed.Load() > 0 })
	store.fail.Store(false)
	o := testkit.Must(ann.answer(request))
	if o.Fields["seq"] != "3" {
		t.Errorf("rule P29: a message that was stored at the second try has the fields %v", o.Fields)
	}
	bob.wantHeard("P29", group+"#3 ann: again")
}

// P29: a transaction whose outcome is not known is repeated, and what it has stored is delivered once.
func TestWhatAnUnknownTransactionHasStoredIsDelivered(t *testing.T) {
	store := &watchedStore{Store: chat.NewMemory()}
	w := newWorld(t, chat.Config{Store: store})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	group := ann.create()
	bob.join(group)
	ann.say(group, "one")
	bob.forget()
	store.loseAnswers.Store(1)
	if n := ann.say(group, "two"); n != 2 {
		t.Errorf("rule P33: the message has the number %d", n)
	}
	ann.say(group, "three")
	bob.wantHeard("P29", group+"#2 ann: two", group+"#3 ann: three")
	if got, want := bob.history(group), []string{"#1 ann: one", "#2 ann: two", "#3 ann: three"}; !slices.Equal(got, want) {
		t.Errorf("rule P33: the history is %q", got)
	}
}

// P29: a message whose outcome was never known is delivered before the next one, and its sender was told NotStored.
func TestWhatWasStoredAfterAllIsDeliveredBeforeTheNext(t *testing.T) {
	store := &watchedStore{Store: chat.NewMemory()}
	w := newWorld(t, chat.Config{Store: store, StoreTimeout: 300 * time.Millisecond})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	group := ann.create()
	bob.join(group)
	ann.say(group, "one")
	bob.forget()
	store.loseAnswers.Store(1 << 30)
	e := ann.refused("P43", protocol.NotStored, protocol.TypeChat, protocol.ChatSend, post(uuid.New(), "two"), "group", group)
	if e.Info[protocol.FieldRetryMS] == "" {
		t.Errorf("rule P43: the refusal %+v does not say when to repeat it", e)
	}
	store.loseAnswers.Store(0)
	ann.say(group, "three")
	bob.wantHeard("P29", group+"#2 ann: two", group+"#3 ann: three")
}

// A7, P30: the reply to Join has the last messages; what comes later is delivered, and nothing twice.
func TestA7JoinBringsRecentHistoryAndThenWhatFollows(t *testing.T) {
	w := newWorld(t, chat.Config{RecentHistory: 3})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	group := ann.create()
	for i := range 5 {
		ann.say(group, fmt.Sprint(i+1))
	}
	o := bob.must(protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
	if o.Fields["last"] != "5" || o.Fields["more"] != "1" {
		t.Errorf("rule P30: Join is answered %v", o.Fields)
	}
	if got := lines(testkit.Must(protocol.ParseStoredMessages(o.Content))); !slices.Equal(got, []string{"#3 ann: 3", "#4 ann: 4", "#5 ann: 5"}) {
		t.Errorf("rule P30: Join is answered with %q", got)
	}
	bob.forget()
	ann.say(group, "6")
	bob.wantHeard("P30", group+"#6 ann: 6")
}

// P30: while others write, a joining user gets each number once: in the reply, or after it.
func TestJoinIsExactWhileOthersWrite(t *testing.T) {
	w := newWorld(t, chat.Config{RecentHistory: 1000})
	ann := w.logOn("ann")
	group := ann.create("max", "200")
	const joiners, messages = 8, 300
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range messages {
			id := testkit.Must(strconv.ParseUint(group, 10, 64))
			if _, err := w.chat.Send(t.Context(), "ann", chat.ToGroup(chat.GroupID(id)), 1, fmt.Append(nil, i), chat.SendOptions{}); err != nil {
				t.Error(err)
			}
		}
	}()
	var all []*peer
	var had [][]string
	for i := range joiners {
		p := w.logOn(fmt.Sprint("user", i))
		all, had = append(all, p), append(had, p.join(group))
	}
	<-done
	for i, p := range all {
		p.sync()
		got := had[i]
		for _, h := range p.heard {
			if text, is := cutMessage(h, group); is {
				got = append(got, text)
			}
		}
		if len(got) != messages {
			t.Fatalf("rule P30: %s has %d messages of %d", p.user, len(got), messages)
		}
		for j, text := range got {
			if want := fmt.Sprintf("#%d ann: %d", j+1, j); text != want {
				t.Fatalf("rule P30: %s has %q as message %d, after %d in the reply", p.user, text, j+1, len(had[i]))
			}
		}
	}
}

// P31: a page is by number, before or after one, for members alone.
func TestHistory(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	group := ann.create()
	for i := range 7 {
		ann.say(group, fmt.Sprint(i+1))
	}
	for _, c := range []struct {
		fields      []string
		first, last int
		more        string
	}{
		{nil, 1, 7, "0"},
		{[]string{"limit", "3"}, 5, 7, "1"},
		{[]string{"before", "5", "limit", "2"}, 3, 4, "1"},
		{[]string{"before", "3"}, 1, 2, "0"},
		{[]string{"before", "1"}, 1, 0, "0"},
		{[]string{"after", "0", "limit", "2"}, 1, 2, "1"},
		{[]string{"after", "5"}, 6, 7, "0"},
		{[]string{"after", "7"}, 1, 0, "0"},
	} {
		o := ann.must(protocol.TypeChat, protocol.ChatHistory, nil, append([]string{"group", group}, c.fields...)...)
		var want []string
		for i := c.first; i <= c.last; i++ {
			want = append(want, fmt.Sprintf("#%d ann: %d", i, i))
		}
		if got := lines(testkit.Must(protocol.ParseStoredMessages(o.Content))); !slices.Equal(got, want) || o.Fields["more"] != c.more {
			t.Errorf("rule P31: with %v the page is %q, %v, not %q", c.fields, got, o.Fields, want)
		}
		if o.Fields["first"] != "1" {
			t.Errorf("rule P31: the first number that is kept is %v", o.Fields)
		}
	}
	bob.refused("P31", protocol.NotMember, protocol.TypeChat, protocol.ChatHistory, nil, "group", group)
	bob.refused("P31", protocol.NoSuchGroup, protocol.TypeChat, protocol.ChatHistory, nil, "group", "12345")
}

// P31: a page has at most 256 KiB, so that no frame is too large for a client.
func TestAPageOfLargeMessagesIsCut(t *testing.T) {
	w := newWorld(t, chat.Config{Limits: chat.Limits{Content: 100 << 10}})
	ann := w.logOn("ann")
	group := ann.create()
	for range 5 {
		ann.say(group, string(make([]byte, 100<<10)))
	}
	for fields, want := range map[string][]uint64{"before": {4, 5}, "after": {1, 2}} {
		number := map[string]string{"before": "6", "after": "0"}[fields]
		o := ann.must(protocol.TypeChat, protocol.ChatHistory, nil, "group", group, fields, number)
		var got []uint64
		for _, m := range testkit.Must(protocol.ParseStoredMessages(o.Content)) {
			got = append(got, m.Seq)
		}
		if !slices.Equal(got, want) || o.Fields["more"] != "1" {
			t.Errorf("rule P31: %s %s gives the numbers %v, %v", fields, number, got, o.Fields)
		}
	}
	ann.refused("P42", protocol.Refused, protocol.TypeChat, protocol.ChatSend, post(uuid.New(), string(make([]byte, 100<<10+1))), "group", group)
}

// P31: the readers of an anonymous message do not learn its sender, live or from history. Administrators do not either.
func TestAnAnonymousMessageHasNoSender(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob, eve := w.logOn("ann"), w.logOn("bob"), w.logOn("eve")
	group := ann.create("anonymous", "1")
	bob.join(group)
	ann.forget()
	bob.say(group, "who am I?", "anonymous", "1")
	ann.wantHeard("P31", group+"#1 ?: who am I?")
	if got := ann.history(group); !slices.Equal(got, []string{"#1 ?: who am I?"}) {
		t.Errorf("rule P31: the history is %q", got)
	}

	ann.must(protocol.TypeContacts, protocol.ContactSettings, nil, "anonymous", "1")
	bob.say("ann", "boo", "anonymous", "1")
	if n := eve.say("ann", "bah", "anonymous", "1"); n != 2 {
		t.Errorf("rule P31: the second anonymous message has the number %d", n)
	}
	ann.wantHeard("P31", "_anonymous>ann#1 ?: boo", "_anonymous>ann#2 ?: bah")
	if got := ann.history("_anonymous"); !slices.Equal(got, []string{"#1 ?: boo", "#2 ?: bah"}) {
		t.Errorf("rule P31: the anonymous history is %q", got)
	}
	if got := bob.history("ann"); len(got) != 0 {
		t.Errorf("rule P31: the pair has %q", got)
	}
	// Its author may recall it, and another user may not.
	eve.refused("P32", protocol.NotYours, protocol.TypeChat, protocol.ChatRecall, nil, "user", "ann", "anonymous", "1", "seq", "1")
	bob.must(protocol.TypeChat, protocol.ChatRecall, nil, "user", "ann", "anonymous", "1", "seq", "1")
	ann.wantHeard("P32", "_anonymous>ann#3 ?: (recalls 1)")
	if got := ann.history("_anonymous"); !slices.Equal(got, []string{"#1 ?: (recalled)", "#2 ?: bah", "#3 ?: (recalls 1)"}) {
		t.Errorf("rule P32: the anonymous history is %q", got)
	}
}

// A7, P32: the sender may recall a message for 2 minutes; then its content is gone.
func TestA7Recall(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	group := ann.create()
	bob.join(group)
	bob.say(group, "oops")
	ann.forget()
	ann.refused("P32", protocol.NotYours, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1")
	ann.refused("P32", protocol.NoSuchMessage, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "9")
	ann.group(protocol.GroupMute, group, "user", "bob", "until-ms", fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()))
	ann.forget()
	if o := bob.must(protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1"); o.Fields["seq"] != "2" {
		t.Errorf("rule P32: the recall has the fields %v", o.Fields)
	}
	ann.wantHeard("P32", group+"#2 bob: (recalls 1)")
	if got := ann.history(group); !slices.Equal(got, []string{"#1 bob: (recalled)", "#2 bob: (recalls 1)"}) {
		t.Errorf("rule P32: the history is %q", got)
	}
	if o := bob.must(protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1"); o.Fields["seq"] != "2" {
		t.Errorf("rule P32: the second recall has the fields %v", o.Fields)
	}
	ann.wantHeard("P32")
	bob.refused("P32", protocol.NoSuchMessage, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "2")
	bob.group(protocol.GroupLeave, group)
	bob.refused("P32", protocol.NotMember, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1")
}

// P32: after RecallWindow a message stays.
func TestARecallMayComeTooLate(t *testing.T) {
	w := newWorld(t, chat.Config{RecallWindow: -1})
	ann := w.logOn("ann")
	group := ann.create()
	ann.say(group, "for ever")
	ann.refused("P32", protocol.RecallExpired, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1")
	if got := ann.history(group); !slices.Equal(got, []string{"#1 ann: for ever"}) {
		t.Errorf("rule P32: the history is %q", got)
	}
}

// A number that no message has is the caller's mistake: it must not reach the store, where it would fail the whole batch.
func TestANumberThatNoMessageHasIsNotAskedFor(t *testing.T) {
	store := &watchedStore{Store: chat.NewMemory()}
	w := newWorld(t, chat.Config{Store: store})
	store.fail.Store(true)
	if _, err := w.chat.Recall(t.Context(), chat.Server, chat.ToGroup(1), 1<<63, chat.SendOptions{}); !errors.Is(err, protocol.NoSuchMessage) {
		t.Errorf("rule P32: a recall of message 2^63 fails with %v", err)
	}
	if n := store.failed.Load(); n != 0 {
		t.Errorf("rule P32: the store was asked %d times", n)
	}
}

// P33: a message with an ID that its sender has used in the conversation is the same message.
func TestTheSameMessageTwiceIsOne(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, phone, bob := w.logOn("ann"), w.logOn("ann"), w.logOn("bob")
	group := ann.create()
	bob.join(group)
	bob.forget()
	id := uuid.New()
	first := ann.must(protocol.TypeChat, protocol.ChatSend, post(id, "hello"), "group", group)
	ann.say(group, "more")
	for _, p := range []*peer{ann, phone} {
		again := p.must(protocol.TypeChat, protocol.ChatSend, post(id, "hello?"), "group", group)
		if again.Fields["seq"] != "1" || again.Fields["time-ms"] != first.Fields["time-ms"] {
			t.Errorf("rule P33: the repeated message is answered %v, the first was %v", again.Fields, first.Fields)
		}
	}
	bob.wantHeard("P33", group+"#1 ann: hello", group+"#2 ann: more")
	if o := bob.must(protocol.TypeChat, protocol.ChatSend, post(id, "mine"), "group", group); o.Fields["seq"] != "3" {
		t.Errorf("rule P33: another sender's message with the same ID is answered %v", o.Fields)
	}
	// In two frames that come together it is one, too.
	id = uuid.New()
	one := ann.begin(protocol.TypeChat, protocol.ChatSend, post(id, "twice"), "group", group)
	two := ann.begin(protocol.TypeChat, protocol.ChatSend, post(id, "twice"), "group", group)
	a, b := testkit.Must(ann.answer(one)), testkit.Must(ann.answer(two))
	if a.Fields["seq"] != b.Fields["seq"] {
		t.Errorf("rule P33: answered %v and %v", a.Fields, b.Fields)
	}
}

// P43, P42: a request that cannot be read is refused, the connection stays.
func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann := w.logOn("ann")
	group := ann.create()
	for _, c := range []struct {
		content []byte
		fields  []string
	}{
		{post(uuid.New(), "x"), nil},
		{post(uuid.New(), "x"), []string{"group", group, "user", "bob"}},
		{post(uuid.New(), "x"), []string{"user", "ann"}},
		{post(uuid.New(), "x"), []string{"user", "_server"}},
		{post(uuid.New(), "x"), []string{"group", "0"}},
		{post(uuid.New(), "x"), []string{"group", "-1"}},
		{post(uuid.New(), "x"), []string{"group", "9223372036854775808"}},
		{post(uuid.Nil, "x"), []string{"group", group}},
		{[]byte("short"), []string{"group", group}},
		{nil, []string{"group", group}},
		{post(uuid.New(), "x"), []string{"group", group, "anonymous", "yes"}},
	} {
		ann.refused("P42", protocol.Incomplete, protocol.TypeChat, protocol.ChatSend, c.content, c.fields...)
	}
	for _, typ := range []uint16{protocol.TypeChat, protocol.TypeGroup, protocol.TypeContacts} {
		ann.refused("P42", protocol.Refused, typ, 99, nil)
		ann.id++
		ann.send(&protocol.Message{Type: typ, ID: ann.id, Body: []byte{1}})
		if _, err := ann.answer(ann.id); err == nil || err.(*protocol.CloseError).Code != protocol.Incomplete {
			t.Errorf("rule P42: a body that is no operation is answered %v", err)
		}
	}
	ann.refused("P42", protocol.Refused, protocol.TypeChat, protocol.ChatMessage, nil) // only the server sends it
	ann.refused("P42", protocol.Incomplete, protocol.TypeGroup, protocol.GroupCreate, nil, "name", "a\nb")
	ann.refused("P42", protocol.Incomplete, protocol.TypeContacts, protocol.ContactSettings, nil, "requests", "maybe")
	if n := ann.say(group, "still here"); n != 1 {
		t.Errorf("rule P42: a refusal has cost the number %d", n)
	}
}

// Conversations lists, by pages, the groups of a user and the users that it has messages with.
func TestConversations(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	befriend(ann, bob)
	one, two := ann.create(), ann.create()
	ann.say(one, "x")
	ann.say("bob", "y")
	bob.say("ann", "z")
	got := map[string]uint64{}
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		fields := []string{"limit", "1"}
		if cursor != "" {
			fields = append(fields, "cursor", cursor)
		}
		o := ann.must(protocol.TypeChat, protocol.ChatConversations, nil, fields...)
		cursor = o.Fields["next"]
		for _, c := range testkit.Must(protocol.ParseConversations(o.Content)) {
			name := c.With
			if c.Group != 0 {
				name = fmt.Sprint(c.Group)
			}
			got[name] = c.Last
		}
		if pages > 5 {
			t.Fatal("the pages do not end")
		}
	}
	if want := map[string]uint64{one: 1, two: 0, "bob": 2}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the conversations are %v, not %v", got, want)
	}
}
