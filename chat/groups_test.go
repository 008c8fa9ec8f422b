package chat_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// groupID reads a group's number.
func groupID(s string) chat.GroupID { return chat.GroupID(testkit.Must(strconv.ParseUint(s, 10, 63))) }

func inAnHour() string { return fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()) }

// A5: each reason not to let a message into a group has its own code, and only the sender is told.
func TestA5SendingToAGroup(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob, eve := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve")
	group := ann.Create()
	bob.Join(group)
	bob.MayNotSay("P36", protocol.NoSuchGroup, "77")
	eve.MayNotSay("P36", protocol.NotMember, group)
	bob.MayNotSay("P36", protocol.GroupNoAnonymous, group, "anonymous", "1")

	until := inAnHour()
	ann.Group(protocol.GroupMute, group, "user", "bob", "until-ms", until)
	if e := bob.MayNotSay("P36", protocol.MemberMuted, group); e.Info["until-ms"] != until || e.Info[protocol.FieldRetryMS] == "" {
		t.Errorf("rule P36: the refusal has %v, not until-ms=%s", e.Info, until)
	}
	bob.Group(protocol.GroupLeave, group)
	bob.Join(group)
	bob.MayNotSay("P37", protocol.MemberMuted, group) // leaving is no way round
	ann.Group(protocol.GroupMute, group, "user", "bob", "until-ms", "0")
	bob.Say(group, "I may again")

	ann.Group(protocol.GroupMute, group, "user", "bob", "until-ms", fmt.Sprint(time.Now().Add(-time.Second).UnixMilli()))
	bob.Say(group, "a mute ends by the clock")

	ann.Group(protocol.GroupChange, group, "muted", "1")
	bob.MayNotSay("P36", protocol.GroupMuted, group)
	ann.Say(group, "an administrator may")
	ann.Group(protocol.GroupChange, group, "muted", "0", "anonymous", "1")
	bob.Say(group, "psst", "anonymous", "1")

	ann.Group(protocol.GroupBan, group, "user", "bob")
	bob.MayNotSay("P36", protocol.Banned, group)
	ann.Group(protocol.GroupBan, group, "user", "bob", "remove", "1")
	bob.MayNotSay("P36", protocol.Banned, group)
	bob.Refused("P37", protocol.Banned, protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
	ann.Group(protocol.GroupBan, group, "user", "bob", "on", "0")
	bob.MayNotSay("P36", protocol.NotMember, group)
	bob.Join(group)
	bob.Say(group, "back")

	bob.Must(protocol.TypeContacts, protocol.ContactSettings, nil, "send", "0")
	bob.MayNotSay("P36", protocol.SendingOff, group)
	bob.MayNotSay("P36", protocol.SendingOff, "77")
	bob.Must(protocol.TypeContacts, protocol.ContactSettings, nil, "send", "1")

	ann.Group(protocol.GroupDissolve, group)
	bob.MayNotSay("P36", protocol.NoSuchGroup, group)
	eve.WantHeard("P36")
}

// A5, P35: a group has its maximum, also when many join at once.
func TestA5AGroupHasAMaximum(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann := w.LogOn("ann")
	group := ann.Create("max", "11")
	in, full := chattest.JoinTogether(t, 100, func(i int) error {
		_, err := w.Chat.Join(t.Context(), groupID(group), fmt.Sprint("user", i))
		return err
	})
	if in != 10 || full != 90 {
		t.Errorf("rule P35: %d users are in, and %d were refused", in, full)
	}
	if o := ann.Group(protocol.GroupInfo, group); o.Fields["members"] != "11" {
		t.Errorf("rule P35: the group has the fields %v", o.Fields)
	}
	ann.Refused("P42", protocol.Refused, protocol.TypeGroup, protocol.GroupChange, nil, "group", group, "max", "10")
	ann.Refused("P42", protocol.Incomplete, protocol.TypeGroup, protocol.GroupChange, nil, "group", group, "max", "201")
	ann.Group(protocol.GroupChange, group, "max", "12")
	bob := w.LogOn("bob")
	bob.Join(group)
	w.LogOn("eve").Refused("P35", protocol.GroupFull, protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
}

// P34: who may do what.
func TestRoles(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob, eve, dan := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve"), w.LogOn("dan")
	group := ann.Create("open", "0")
	bob.Refused("P34", protocol.GroupClosed, protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
	ann.Refused("P34", protocol.NotFriends, protocol.TypeGroup, protocol.GroupAdd, chattest.IDs("bob"), "group", group)
	for _, p := range []*chattest.Peer{bob, eve, dan} {
		chattest.Befriend(ann, p)
	}
	if o := ann.Must(protocol.TypeGroup, protocol.GroupAdd, chattest.IDs("bob", "eve", "dan", "nobody"), "group", group); o.Fields["done"] != "3" {
		t.Errorf("rule P34: Add is answered %v", o.Fields)
	}
	ann.Group(protocol.GroupSetRole, group, "user", "bob", "role", "1")
	ann.Group(protocol.GroupSetRole, group, "user", "eve", "role", "1")
	may := func(p *chattest.Peer, op uint8, content []byte, fields ...string) protocol.CloseCode {
		_, err := p.Ask(protocol.TypeGroup, op, content, append([]string{"group", group}, fields...)...)
		return chattest.CodeOf(err)
	}
	no := protocol.NotAdministrator
	for _, c := range []struct {
		who    *chattest.Peer
		op     uint8
		ids    []byte
		fields []string
		want   protocol.CloseCode
	}{
		{dan, protocol.GroupChange, nil, []string{"name", "dan's"}, no},
		{dan, protocol.GroupMute, nil, []string{"user", "bob", "until-ms", "1"}, no},
		{dan, protocol.GroupBan, nil, []string{"user", "bob"}, no},
		{dan, protocol.GroupRemove, chattest.IDs("bob"), nil, no},
		{dan, protocol.GroupSetRole, nil, []string{"user", "bob", "role", "0"}, no},
		{dan, protocol.GroupDissolve, nil, nil, no},
		{bob, protocol.GroupSetRole, nil, []string{"user", "dan", "role", "1"}, no},
		{bob, protocol.GroupDissolve, nil, nil, no},
		{bob, protocol.GroupMute, nil, []string{"user", "eve", "until-ms", "1"}, no},
		{bob, protocol.GroupBan, nil, []string{"user", "ann"}, no},
		{bob, protocol.GroupRemove, chattest.IDs("ann"), nil, no},
		{bob, protocol.GroupRemove, chattest.IDs("eve"), nil, no},
		{bob, protocol.GroupChange, nil, []string{"name", "bob's"}, 0},
		{bob, protocol.GroupMute, nil, []string{"user", "dan", "until-ms", "1"}, 0},
		{bob, protocol.GroupBan, nil, []string{"user", "zoe"}, 0}, // who is no member
		{ann, protocol.GroupLeave, nil, nil, protocol.Refused},
		{ann, protocol.GroupMute, nil, []string{"user", "bob", "until-ms", "1"}, 0},
		{ann, protocol.GroupMute, nil, []string{"user", "zoe", "until-ms", "1"}, protocol.NotMember},
		{ann, protocol.GroupMute, nil, []string{"user", "ann", "until-ms", "1"}, protocol.Incomplete},
		{bob, protocol.GroupRemove, chattest.IDs("dan", "eve", "zoe"), nil, 0},
		{bob, protocol.GroupRemove, chattest.IDs("dan"), nil, protocol.NotMember},
		{dan, protocol.GroupLeave, nil, nil, protocol.NotMember},
		{ann, protocol.GroupSetRole, nil, []string{"user", "bob", "role", "2"}, 0},
		{ann, protocol.GroupDissolve, nil, nil, no},
		{ann, protocol.GroupLeave, nil, nil, 0},
		{bob, protocol.GroupDissolve, nil, nil, 0},
		{bob, protocol.GroupInfo, nil, nil, protocol.NoSuchGroup},
	} {
		if got := may(c.who, c.op, c.ids, c.fields...); got != c.want {
			t.Errorf("rule P34: %s, operation %d with %v: %v, not %v", c.who.User, c.op, c.fields, got, c.want)
		}
	}
}

// Notices of a group go to those who are concerned.
func TestGroupNotices(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob, eve := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve")
	group := ann.Create()
	bob.Join(group)
	eve.Join(group)
	in := "group " + group + " "
	ann.WantHeard("P34", in+"joined bob", in+"joined eve")
	bob.WantHeard("P34", in+"joined bob", in+"joined eve")
	eve.WantHeard("P34", in+"joined eve")
	ann.Group(protocol.GroupMute, group, "user", "bob", "until-ms", inAnHour())
	ann.WantHeard("P34", in+"muted bob")
	bob.WantHeard("P34", in+"muted bob")
	eve.WantHeard("P34")
	ann.Must(protocol.TypeGroup, protocol.GroupRemove, chattest.IDs("bob"), "group", group)
	ann.WantHeard("P34", in+"removed bob")
	bob.WantHeard("P34", in+"removed bob")
	eve.WantHeard("P34")
	ann.Group(protocol.GroupDissolve, group)
	eve.WantHeard("P34", in+"dissolved")
}

// P37: when Mute has been answered, no later message of the member has a number.
func TestMuteAgainstSend(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann := w.LogOn("ann")
	group := groupID(ann.Create())
	for range 100 {
		if _, err := w.Chat.Join(t.Context(), group, "bob"); err != nil {
			t.Fatal(err)
		}
		var writers sync.WaitGroup
		var muted atomic.Bool
		for range 2 {
			writers.Go(func() {
				for {
					late := muted.Load()
					_, err := w.Chat.Send(t.Context(), "bob", chat.ToGroup(group), 1, []byte("x"), chat.SendOptions{})
					if err == nil && late {
						t.Error("rule P37: a message was numbered after Mute was answered")
					}
					if err != nil {
						return
					}
				}
			})
		}
		if err := w.Chat.Mute(t.Context(), "ann", group, "bob", time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		muted.Store(true)
		writers.Wait()
		if err := w.Chat.Mute(t.Context(), "ann", group, "bob", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

// The author of an anonymous message can be banned without being named.
func TestAnAnonymousAuthorIsBannedUnnamed(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create("anonymous", "1")
	bob.Join(group)
	bob.Say(group, "ha", "anonymous", "1")
	ann.Forget()
	bob.Forget()
	ann.Refused("P42", protocol.Incomplete, protocol.TypeGroup, protocol.GroupBan, nil, "group", group, "seq", "1", "remove", "1")
	ann.Refused("P42", protocol.NoSuchMessage, protocol.TypeGroup, protocol.GroupBan, nil, "group", group, "seq", "2")
	ann.Group(protocol.GroupBan, group, "seq", "1")
	ann.WantHeard("P31")
	bob.WantHeard("P31", "group "+group+" banned bob")
	bob.MayNotSay("P36", protocol.Banned, group)
	ann.Group(protocol.GroupBan, group, "seq", "1", "on", "0")
	bob.Say(group, "thanks")

	// An administrator is not told that the author is the owner, and a recall does not name its sender.
	ann.Group(protocol.GroupSetRole, group, "user", "bob", "role", "1")
	n := fmt.Sprint(ann.Say(group, "hm", "anonymous", "1"))
	ann.Forget()
	bob.Forget()
	bob.Group(protocol.GroupBan, group, "seq", n)
	ann.WantHeard("P31")
	ann.Refused("P31", protocol.Incomplete, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", n)
	ann.Must(protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", n, "anonymous", "1")
	bob.WantHeard("P31", fmt.Sprintf("%s#4 ?: (recalls %s)", group, n))
}

// Members are listed by pages; groups that are not open show themselves to members alone.
func TestMembersAndInfo(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob, eve := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve")
	group := ann.Create("name", "climbing", "max", "50")
	bob.Join(group)
	w.Online("ann", "bob")
	want := map[string]string{"group": group, "name": "climbing", "owner": "ann", "max": "50", "members": "2", "anonymous": "0", "muted": "0",
		"open": "1", "presence": "1", "role": "0", "last": "0"}
	if o := bob.Group(protocol.GroupInfo, group); fmt.Sprint(o.Fields) != fmt.Sprint(want) {
		t.Errorf("rule P34: Info is answered %v, not %v", o.Fields, want)
	}
	var got []string
	for cursor := ""; ; {
		o := bob.Group(protocol.GroupMembers, group, "limit", "1", "cursor", cursor)
		for _, m := range testkit.Must(protocol.ParseGroupMembers(o.Content)) {
			got = append(got, fmt.Sprint(m.UserID, " ", uint8(m.Role), " ", m.State))
		}
		if cursor = o.Fields["next"]; cursor == "" {
			break
		}
	}
	if !slices.Equal(got, []string{"ann 2 online", "bob 0 online"}) {
		t.Errorf("rule P34: the members are %q", got)
	}
	strangers := map[string]string{"group": group, "name": "climbing", "owner": "ann", "max": "50", "members": "2", "anonymous": "0", "muted": "0",
		"open": "1", "presence": "0"}
	if o := eve.Group(protocol.GroupInfo, group); fmt.Sprint(o.Fields) != fmt.Sprint(strangers) {
		t.Errorf("rule P34: for a user who is not in the group Info is answered %v, not %v", o.Fields, strangers)
	}
	for _, m := range testkit.Must(protocol.ParseGroupMembers(eve.Group(protocol.GroupMembers, group).Content)) {
		if m.State != protocol.PresenceOffline {
			t.Errorf("rule P25: a user who is not in the group sees %s %v", m.UserID, m.State)
		}
	}
	ann.Group(protocol.GroupChange, group, "open", "0")
	eve.Refused("P34", protocol.NotMember, protocol.TypeGroup, protocol.GroupMembers, nil, "group", group)
	eve.Refused("P34", protocol.NotMember, protocol.TypeGroup, protocol.GroupInfo, nil, "group", group)
}

// A pair's number is no group's.
func TestAPairIsNoGroup(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	chattest.Befriend(ann, bob)
	ann.Say("bob", "private")
	all := testkit.Must(w.Chat.Conversations(t.Context(), "ann", 0, 10))
	pair := fmt.Sprint(all[0].ID)
	eve := w.LogOn("eve")
	for op := protocol.GroupChange; op < protocol.GroupNotice; op++ {
		content := []byte(nil)
		if op == protocol.GroupAdd || op == protocol.GroupRemove {
			content = chattest.IDs("bob")
		}
		for _, p := range []*chattest.Peer{ann, eve} {
			p.Refused("P31", protocol.NoSuchGroup, protocol.TypeGroup, op, content, "group", pair, "user", "bob", "role", "1", "until-ms", "1")
		}
	}
	eve.Refused("P31", protocol.NoSuchGroup, protocol.TypeChat, protocol.ChatHistory, nil, "group", pair)
	eve.MayNotSay("P36", protocol.NoSuchGroup, pair)
}
