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
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// A7: a message is stored and numbered, and then delivered to each session of each member, but not to the one that has sent it.
func TestA7AMessageIsStoredThenDelivered(t *testing.T) {
	store := &watchedStore{Store: chat.NewMemory()}
	w := chattest.NewWorld(t, chat.Config{Store: store})
	ann, phone, bob, eve := w.LogOn("ann"), w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve")
	group := ann.Create("name", "climbing")
	bob.Join(group)
	for _, p := range []*chattest.Peer{ann, phone, bob} {
		p.Forget()
	}
	if n := ann.Say(group, "hello"); n != 1 {
		t.Errorf("rule P29: the first message has the number %d", n)
	}
	if n := bob.Say(group, "hi"); n != 2 {
		t.Errorf("rule P29: the second message has the number %d", n)
	}
	ann.WantHeard("P29", group+"#2 bob: hi")
	phone.WantHeard("P29", group+"#1 ann: hello", group+"#2 bob: hi")
	bob.WantHeard("P29", group+"#1 ann: hello")
	eve.WantHeard("P29")

	chattest.Befriend(ann, bob)
	phone.Forget()
	ann.Say("bob", "psst")
	bob.WantHeard("P29", "ann>bob#1 ann: psst")
	phone.WantHeard("P29", "ann>bob#1 ann: psst")
	ann.WantHeard("P29")

	// What the store cannot take no reader gets; the sender may repeat it.
	id := uuid.New()
	store.fail.Store(true)
	request := ann.Begin(protocol.TypeChat, protocol.ChatSend, chattest.Post(id, "again"), "group", group)
	testkit.Eventually(t, "the store has failed", func() bool { return store.failed.Load() > 0 })
	store.fail.Store(false)
	o := testkit.Must(ann.Answer(request))
	if o.Fields["seq"] != "3" {
		t.Errorf("rule P29: a message that was stored at the second try has the fields %v", o.Fields)
	}
	bob.WantHeard("P29", group+"#3 ann: again")
}

// P29: a transaction whose outcome is not known is repeated, and what it has stored is delivered once.
func TestWhatAnUnknownTransactionHasStoredIsDelivered(t *testing.T) {
	store := &watchedStore{Store: chat.NewMemory()}
	w := chattest.NewWorld(t, chat.Config{Store: store})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create()
	bob.Join(group)
	ann.Say(group, "one")
	bob.Forget()
	store.loseAnswers.Store(1)
	if n := ann.Say(group, "two"); n != 2 {
		t.Errorf("rule P33: the message has the number %d", n)
	}
	ann.Say(group, "three")
	bob.WantHeard("P29", group+"#2 ann: two", group+"#3 ann: three")
	if got, want := bob.History(group), []string{"#1 ann: one", "#2 ann: two", "#3 ann: three"}; !slices.Equal(got, want) {
		t.Errorf("rule P33: the history is %q", got)
	}
}

// P29: a message whose outcome was never known is delivered before the next one, and its sender was told NotStored.
func TestWhatWasStoredAfterAllIsDeliveredBeforeTheNext(t *testing.T) {
	store := &watchedStore{Store: chat.NewMemory()}
	w := chattest.NewWorld(t, chat.Config{Store: store, StoreTimeout: 300 * time.Millisecond})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create()
	bob.Join(group)
	ann.Say(group, "one")
	bob.Forget()
	store.loseAnswers.Store(1 << 30)
	e := ann.Refused("P43", protocol.NotStored, protocol.TypeChat, protocol.ChatSend, chattest.Post(uuid.New(), "two"), "group", group)
	if e.Info[protocol.FieldRetryMS] == "" {
		t.Errorf("rule P43: the refusal %+v does not say when to repeat it", e)
	}
	store.loseAnswers.Store(0)
	ann.Say(group, "three")
	bob.WantHeard("P29", group+"#2 ann: two", group+"#3 ann: three")
}

// A7, P30: the reply to Join has the last messages; what comes later is delivered, and nothing twice.
func TestA7JoinBringsRecentHistoryAndThenWhatFollows(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{RecentHistory: 3})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create()
	for i := range 5 {
		ann.Say(group, fmt.Sprint(i+1))
	}
	o := bob.Must(protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
	if o.Fields["last"] != "5" || o.Fields["more"] != "1" {
		t.Errorf("rule P30: Join is answered %v", o.Fields)
	}
	if got := chattest.Lines(testkit.Must(protocol.ParseStoredMessages(o.Content))); !slices.Equal(got, []string{"#3 ann: 3", "#4 ann: 4", "#5 ann: 5"}) {
		t.Errorf("rule P30: Join is answered with %q", got)
	}
	bob.Forget()
	ann.Say(group, "6")
	bob.WantHeard("P30", group+"#6 ann: 6")
}

// P30: while others write, a joining user gets each number once: in the reply, or after it.
func TestJoinIsExactWhileOthersWrite(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{RecentHistory: 1000})
	ann := w.LogOn("ann")
	group := ann.Create("max", "200")
	const joiners, messages = 8, 300
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range messages {
			id := testkit.Must(strconv.ParseUint(group, 10, 64))
			if _, err := w.Chat.Send(t.Context(), "ann", chat.ToGroup(chat.GroupID(id)), 1, fmt.Append(nil, i), chat.SendOptions{}); err != nil {
				t.Error(err)
			}
		}
	}()
	var all []*chattest.Peer
	var had [][]string
	for i := range joiners {
		p := w.LogOn(fmt.Sprint("user", i))
		all, had = append(all, p), append(had, p.Join(group))
	}
	<-done
	for i, p := range all {
		p.Sync()
		got := had[i]
		for _, h := range p.Heard {
			if text, is := cutMessage(h, group); is {
				got = append(got, text)
			}
		}
		if len(got) != messages {
			t.Fatalf("rule P30: %s has %d messages of %d", p.User, len(got), messages)
		}
		for j, text := range got {
			if want := fmt.Sprintf("#%d ann: %d", j+1, j); text != want {
				t.Fatalf("rule P30: %s has %q as message %d, after %d in the reply", p.User, text, j+1, len(had[i]))
			}
		}
	}
}

// P31: a page is by number, before or after one, for members alone.
func TestHistory(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create()
	for i := range 7 {
		ann.Say(group, fmt.Sprint(i+1))
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
		o := ann.Must(protocol.TypeChat, protocol.ChatHistory, nil, append([]string{"group", group}, c.fields...)...)
		var want []string
		for i := c.first; i <= c.last; i++ {
			want = append(want, fmt.Sprintf("#%d ann: %d", i, i))
		}
		if got := chattest.Lines(testkit.Must(protocol.ParseStoredMessages(o.Content))); !slices.Equal(got, want) || o.Fields["more"] != c.more {
			t.Errorf("rule P31: with %v the page is %q, %v, not %q", c.fields, got, o.Fields, want)
		}
		if o.Fields["first"] != "1" {
			t.Errorf("rule P31: the first number that is kept is %v", o.Fields)
		}
	}
	bob.Refused("P31", protocol.NotMember, protocol.TypeChat, protocol.ChatHistory, nil, "group", group)
	bob.Refused("P31", protocol.NoSuchGroup, protocol.TypeChat, protocol.ChatHistory, nil, "group", "12345")
}

// P31: a page has at most 256 KiB, so that no frame is too large for a client.
func TestAPageOfLargeMessagesIsCut(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{Limits: chat.Limits{Content: 100 << 10}})
	ann := w.LogOn("ann")
	group := ann.Create()
	for range 5 {
		ann.Say(group, string(make([]byte, 100<<10)))
	}
	for fields, want := range map[string][]uint64{"before": {4, 5}, "after": {1, 2}} {
		number := map[string]string{"before": "6", "after": "0"}[fields]
		o := ann.Must(protocol.TypeChat, protocol.ChatHistory, nil, "group", group, fields, number)
		var got []uint64
		for _, m := range testkit.Must(protocol.ParseStoredMessages(o.Content)) {
			got = append(got, m.Seq)
		}
		if !slices.Equal(got, want) || o.Fields["more"] != "1" {
			t.Errorf("rule P31: %s %s gives the numbers %v, %v", fields, number, got, o.Fields)
		}
	}
	ann.Refused("P42", protocol.Refused, protocol.TypeChat, protocol.ChatSend, chattest.Post(uuid.New(), string(make([]byte, 100<<10+1))), "group", group)
}

// P31: the readers of an anonymous message do not learn its sender, live or from history. Administrators do not either.
func TestAnAnonymousMessageHasNoSender(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob, eve := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve")
	group := ann.Create("anonymous", "1")
	bob.Join(group)
	ann.Forget()
	bob.Say(group, "who am I?", "anonymous", "1")
	ann.WantHeard("P31", group+"#1 ?: who am I?")
	if got := ann.History(group); !slices.Equal(got, []string{"#1 ?: who am I?"}) {
		t.Errorf("rule P31: the history is %q", got)
	}

	ann.Must(protocol.TypeContacts, protocol.ContactSettings, nil, "anonymous", "1")
	bob.Say("ann", "boo", "anonymous", "1")
	if n := eve.Say("ann", "bah", "anonymous", "1"); n != 2 {
		t.Errorf("rule P31: the second anonymous message has the number %d", n)
	}
	ann.WantHeard("P31", "_anonymous>ann#1 ?: boo", "_anonymous>ann#2 ?: bah")
	if got := ann.History("_anonymous"); !slices.Equal(got, []string{"#1 ?: boo", "#2 ?: bah"}) {
		t.Errorf("rule P31: the anonymous history is %q", got)
	}
	if got := bob.History("ann"); len(got) != 0 {
		t.Errorf("rule P31: the pair has %q", got)
	}
	// Its author may recall it, and another user may not.
	eve.Refused("P32", protocol.NotYours, protocol.TypeChat, protocol.ChatRecall, nil, "user", "ann", "anonymous", "1", "seq", "1")
	bob.Must(protocol.TypeChat, protocol.ChatRecall, nil, "user", "ann", "anonymous", "1", "seq", "1")
	ann.WantHeard("P32", "_anonymous>ann#3 ?: (recalls 1)")
	if got := ann.History("_anonymous"); !slices.Equal(got, []string{"#1 ?: (recalled)", "#2 ?: bah", "#3 ?: (recalls 1)"}) {
		t.Errorf("rule P32: the anonymous history is %q", got)
	}
}

// A7, P32: the sender may recall a message for 2 minutes; then its content is gone.
func TestA7Recall(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create()
	bob.Join(group)
	bob.Say(group, "oops")
	ann.Forget()
	ann.Refused("P32", protocol.NotYours, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1")
	ann.Refused("P32", protocol.NoSuchMessage, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "9")
	ann.Group(protocol.GroupMute, group, "user", "bob", "until-ms", fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()))
	ann.Forget()
	if o := bob.Must(protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1"); o.Fields["seq"] != "2" {
		t.Errorf("rule P32: the recall has the fields %v", o.Fields)
	}
	ann.WantHeard("P32", group+"#2 bob: (recalls 1)")
	if got := ann.History(group); !slices.Equal(got, []string{"#1 bob: (recalled)", "#2 bob: (recalls 1)"}) {
		t.Errorf("rule P32: the history is %q", got)
	}
	if o := bob.Must(protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1"); o.Fields["seq"] != "2" {
		t.Errorf("rule P32: the second recall has the fields %v", o.Fields)
	}
	ann.WantHeard("P32")
	bob.Refused("P32", protocol.NoSuchMessage, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "2")
	bob.Group(protocol.GroupLeave, group)
	bob.Refused("P32", protocol.NotMember, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1")
}

// P32: after RecallWindow a message stays.
func TestARecallMayComeTooLate(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{RecallWindow: -1})
	ann := w.LogOn("ann")
	group := ann.Create()
	ann.Say(group, "for ever")
	ann.Refused("P32", protocol.RecallExpired, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1")
	if got := ann.History(group); !slices.Equal(got, []string{"#1 ann: for ever"}) {
		t.Errorf("rule P32: the history is %q", got)
	}
}

// A number that no message has is the caller's mistake: it must not reach the store, where it would fail the whole batch.
func TestANumberThatNoMessageHasIsNotAskedFor(t *testing.T) {
	store := &watchedStore{Store: chat.NewMemory()}
	w := chattest.NewWorld(t, chat.Config{Store: store})
	store.fail.Store(true)
	if _, err := w.Chat.Recall(t.Context(), chat.Server, chat.ToGroup(1), 1<<63, chat.SendOptions{}); !errors.Is(err, protocol.NoSuchMessage) {
		t.Errorf("rule P32: a recall of message 2^63 fails with %v", err)
	}
	if n := store.failed.Load(); n != 0 {
		t.Errorf("rule P32: the store was asked %d times", n)
	}
}

// P33: a message with an ID that its sender has used in the conversation is the same message.
func TestTheSameMessageTwiceIsOne(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, phone, bob := w.LogOn("ann"), w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create()
	bob.Join(group)
	bob.Forget()
	id := uuid.New()
	first := ann.Must(protocol.TypeChat, protocol.ChatSend, chattest.Post(id, "hello"), "group", group)
	ann.Say(group, "more")
	for _, p := range []*chattest.Peer{ann, phone} {
		again := p.Must(protocol.TypeChat, protocol.ChatSend, chattest.Post(id, "hello?"), "group", group)
		if again.Fields["seq"] != "1" || again.Fields["time-ms"] != first.Fields["time-ms"] {
			t.Errorf("rule P33: the repeated message is answered %v, the first was %v", again.Fields, first.Fields)
		}
	}
	bob.WantHeard("P33", group+"#1 ann: hello", group+"#2 ann: more")
	if o := bob.Must(protocol.TypeChat, protocol.ChatSend, chattest.Post(id, "mine"), "group", group); o.Fields["seq"] != "3" {
		t.Errorf("rule P33: another sender's message with the same ID is answered %v", o.Fields)
	}
	// In two frames that come together it is one, too.
	id = uuid.New()
	one := ann.Begin(protocol.TypeChat, protocol.ChatSend, chattest.Post(id, "twice"), "group", group)
	two := ann.Begin(protocol.TypeChat, protocol.ChatSend, chattest.Post(id, "twice"), "group", group)
	a, b := testkit.Must(ann.Answer(one)), testkit.Must(ann.Answer(two))
	if a.Fields["seq"] != b.Fields["seq"] {
		t.Errorf("rule P33: answered %v and %v", a.Fields, b.Fields)
	}
}

// P43, P42: a request that cannot be read is refused, the connection stays.
func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann := w.LogOn("ann")
	group := ann.Create()
	for _, c := range []struct {
		content []byte
		fields  []string
	}{
		{chattest.Post(uuid.New(), "x"), nil},
		{chattest.Post(uuid.New(), "x"), []string{"group", group, "user", "bob"}},
		{chattest.Post(uuid.New(), "x"), []string{"user", "ann"}},
		{chattest.Post(uuid.New(), "x"), []string{"user", "_server"}},
		{chattest.Post(uuid.New(), "x"), []string{"group", "0"}},
		{chattest.Post(uuid.New(), "x"), []string{"group", "-1"}},
		{chattest.Post(uuid.New(), "x"), []string{"group", "9223372036854775808"}},
		{chattest.Post(uuid.Nil, "x"), []string{"group", group}},
		{[]byte("short"), []string{"group", group}},
		{nil, []string{"group", group}},
		{chattest.Post(uuid.New(), "x"), []string{"group", group, "anonymous", "yes"}},
	} {
		ann.Refused("P42", protocol.Incomplete, protocol.TypeChat, protocol.ChatSend, c.content, c.fields...)
	}
	for _, typ := range []uint16{protocol.TypeChat, protocol.TypeGroup, protocol.TypeContacts} {
		ann.Refused("P42", protocol.Refused, typ, 99, nil)
		ann.ID++
		ann.Send(&protocol.Message{Type: typ, ID: ann.ID, Body: []byte{1}})
		if _, err := ann.Answer(ann.ID); err == nil || err.(*protocol.CloseError).Code != protocol.Incomplete {
			t.Errorf("rule P42: a body that is no operation is answered %v", err)
		}
	}
	ann.Refused("P42", protocol.Refused, protocol.TypeChat, protocol.ChatMessage, nil) // only the server sends it
	ann.Refused("P42", protocol.Incomplete, protocol.TypeGroup, protocol.GroupCreate, nil, "name", "a\nb")
	ann.Refused("P42", protocol.Incomplete, protocol.TypeContacts, protocol.ContactSettings, nil, "requests", "maybe")
	if n := ann.Say(group, "still here"); n != 1 {
		t.Errorf("rule P42: a refusal has cost the number %d", n)
	}
}

// Conversations lists, by pages, the groups of a user and the users that it has messages with.
func TestConversations(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	chattest.Befriend(ann, bob)
	one, two := ann.Create(), ann.Create()
	ann.Say(one, "x")
	ann.Say("bob", "y")
	bob.Say("ann", "z")
	got := map[string]uint64{}
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		fields := []string{"limit", "1"}
		if cursor != "" {
			fields = append(fields, "cursor", cursor)
		}
		o := ann.Must(protocol.TypeChat, protocol.ChatConversations, nil, fields...)
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

// P29, P31, P32: the program removes old messages from the store while the service goes on. Numbers go on where they were, and History and Join
// begin with the first message that is kept.
func TestOldMessagesAreRemovedWhileUsersTalk(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob, eve := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve")
	group := ann.Create()
	bob.Join(group)
	for i := range 4 {
		ann.Say(group, fmt.Sprint(i+1))
	}
	bob.Forget()
	soon := time.Now().Add(time.Hour)
	if n, err := w.Store.Prune(t.Context(), soon, 2); n != 2 || err != nil {
		t.Fatalf("%d messages are removed, %v", n, err)
	}
	o := bob.Must(protocol.TypeChat, protocol.ChatHistory, nil, "group", group, "after", "0")
	if got := chattest.Lines(testkit.Must(protocol.ParseStoredMessages(o.Content))); !slices.Equal(got, []string{"#3 ann: 3", "#4 ann: 4"}) || o.Fields["first"] != "3" {
		t.Errorf("rule P31: the history is %q, with the fields %v", got, o.Fields)
	}
	ann.Refused("P32", protocol.NoSuchMessage, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1")
	if n, err := w.Store.Prune(t.Context(), soon, 100); n != 1 || err != nil { // the last one stays
		t.Fatalf("%d messages are removed, %v", n, err)
	}
	if n := ann.Say(group, "5"); n != 5 {
		t.Errorf("rule P29: the next message has the number %d", n)
	}
	bob.WantHeard("P29", group+"#5 ann: 5")
	if got := eve.Join(group); !slices.Equal(got, []string{"#4 ann: 4", "#5 ann: 5"}) {
		t.Errorf("rule P30: Join is answered with %q", got)
	}
}
