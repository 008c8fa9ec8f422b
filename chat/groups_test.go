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
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// groupID reads a group's number.
func groupID(s string) chat.GroupID { return chat.GroupID(testkit.Must(strconv.ParseUint(s, 10, 63))) }

func inAnHour() string { return fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()) }

// A5: each reason not to let a message into a group has its own code, and only the sender is told.
func TestA5SendingToAGroup(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob, eve := w.logOn("ann"), w.logOn("bob"), w.logOn("eve")
	group := ann.create()
	bob.join(group)
	bob.mayNotSay("P36", protocol.NoSuchGroup, "77")
	eve.mayNotSay("P36", protocol.NotMember, group)
	bob.mayNotSay("P36", protocol.GroupNoAnonymous, group, "anonymous", "1")

	until := inAnHour()
	ann.group(protocol.GroupMute, group, "user", "bob", "until-ms", until)
	if e := bob.mayNotSay("P36", protocol.MemberMuted, group); e.Info["until-ms"] != until {
		t.Errorf("rule P36: the refusal has %v, not until-ms=%s", e.Info, until)
	}
	bob.group(protocol.GroupLeave, group)
	bob.join(group)
	bob.mayNotSay("P37", protocol.MemberMuted, group) // leaving is no way round
	ann.group(protocol.GroupMute, group, "user", "bob", "until-ms", "0")
	bob.say(group, "I may again")

	ann.group(protocol.GroupMute, group, "user", "bob", "until-ms", fmt.Sprint(time.Now().Add(-time.Second).UnixMilli()))
	bob.say(group, "a mute ends by the clock")

	ann.group(protocol.GroupChange, group, "muted", "1")
	bob.mayNotSay("P36", protocol.GroupMuted, group)
	ann.say(group, "an administrator may")
	ann.group(protocol.GroupChange, group, "muted", "0", "anonymous", "1")
	bob.say(group, "psst", "anonymous", "1")

	ann.group(protocol.GroupBan, group, "user", "bob")
	bob.mayNotSay("P36", protocol.Banned, group)
	ann.group(protocol.GroupBan, group, "user", "bob", "remove", "1")
	bob.mayNotSay("P36", protocol.Banned, group)
	bob.refused("P37", protocol.Banned, protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
	ann.group(protocol.GroupBan, group, "user", "bob", "on", "0")
	bob.mayNotSay("P36", protocol.NotMember, group)
	bob.join(group)
	bob.say(group, "back")

	bob.must(protocol.TypeContacts, protocol.ContactSettings, nil, "send", "0")
	bob.mayNotSay("P36", protocol.SendingOff, group)
	bob.mayNotSay("P36", protocol.SendingOff, "77")
	bob.must(protocol.TypeContacts, protocol.ContactSettings, nil, "send", "1")

	ann.group(protocol.GroupDissolve, group)
	bob.mayNotSay("P36", protocol.NoSuchGroup, group)
	eve.wantHeard("P36")
}

// A5, P35: a group has its maximum, also when many join at once.
func TestA5AGroupHasAMaximum(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann := w.logOn("ann")
	group := ann.create("max", "11")
	var full, in atomic.Int32
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			switch _, err := w.chat.Join(t.Context(), groupID(group), fmt.Sprint("user", i)); codeOf(err) {
			case 0:
				in.Add(1)
			case protocol.GroupFull:
				full.Add(1)
			default:
				t.Errorf("rule P35: %v", err)
			}
		})
	}
	all.Wait()
	if in.Load() != 10 || full.Load() != 90 {
		t.Errorf("rule P35: %d users are in, and %d were refused", in.Load(), full.Load())
	}
	if o := ann.group(protocol.GroupInfo, group); o.Fields["members"] != "11" {
		t.Errorf("rule P35: the group has the fields %v", o.Fields)
	}
	ann.refused("P42", protocol.Refused, protocol.TypeGroup, protocol.GroupChange, nil, "group", group, "max", "10")
	ann.refused("P42", protocol.Incomplete, protocol.TypeGroup, protocol.GroupChange, nil, "group", group, "max", "201")
	ann.group(protocol.GroupChange, group, "max", "12")
	bob := w.logOn("bob")
	bob.join(group)
	w.logOn("eve").refused("P35", protocol.GroupFull, protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
}

func codeOf(err error) protocol.CloseCode {
	if err == nil {
		return 0
	}
	if e, is := err.(*protocol.CloseError); is {
		return e.Code
	}
	return 1
}

// P34: who may do what.
func TestRoles(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob, eve, dan := w.logOn("ann"), w.logOn("bob"), w.logOn("eve"), w.logOn("dan")
	group := ann.create("open", "0")
	bob.refused("P34", protocol.GroupClosed, protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
	ann.refused("P34", protocol.NotFriends, protocol.TypeGroup, protocol.GroupAdd, ids("bob"), "group", group)
	for _, p := range []*peer{bob, eve, dan} {
		befriend(ann, p)
	}
	if o := ann.must(protocol.TypeGroup, protocol.GroupAdd, ids("bob", "eve", "dan", "nobody"), "group", group); o.Fields["done"] != "3" {
		t.Errorf("rule P34: Add is answered %v", o.Fields)
	}
	ann.group(protocol.GroupSetRole, group, "user", "bob", "role", "1")
	ann.group(protocol.GroupSetRole, group, "user", "eve", "role", "1")
	may := func(p *peer, op uint8, content []byte, fields ...string) protocol.CloseCode {
		_, err := p.ask(protocol.TypeGroup, op, content, append([]string{"group", group}, fields...)...)
		return codeOf(err)
	}
	no := protocol.NotAdministrator
	for _, c := range []struct {
		who    *peer
		op     uint8
		ids    []byte
		fields []string
		want   protocol.CloseCode
	}{
		{dan, protocol.GroupChange, nil, []string{"name", "dan's"}, no},
		{dan, protocol.GroupMute, nil, []string{"user", "bob", "until-ms", "1"}, no},
		{dan, protocol.GroupBan, nil, []string{"user", "bob"}, no},
		{dan, protocol.GroupRemove, ids("bob"), nil, no},
		{dan, protocol.GroupSetRole, nil, []string{"user", "bob", "role", "0"}, no},
		{dan, protocol.GroupDissolve, nil, nil, no},
		{bob, protocol.GroupSetRole, nil, []string{"user", "dan", "role", "1"}, no},
		{bob, protocol.GroupDissolve, nil, nil, no},
		{bob, protocol.GroupMute, nil, []string{"user", "eve", "until-ms", "1"}, no},
		{bob, protocol.GroupBan, nil, []string{"user", "ann"}, no},
		{bob, protocol.GroupRemove, ids("ann"), nil, no},
		{bob, protocol.GroupRemove, ids("eve"), nil, no},
		{bob, protocol.GroupChange, nil, []string{"name", "bob's"}, 0},
		{bob, protocol.GroupMute, nil, []string{"user", "dan", "until-ms", "1"}, 0},
		{bob, protocol.GroupBan, nil, []string{"user", "zoe"}, 0}, // who is no member
		{ann, protocol.GroupLeave, nil, nil, protocol.Refused},
		{ann, protocol.GroupMute, nil, []string{"user", "bob", "until-ms", "1"}, 0},
		{ann, protocol.GroupMute, nil, []string{"user", "zoe", "until-ms", "1"}, protocol.NotMember},
		{ann, protocol.GroupMute, nil, []string{"user", "ann", "until-ms", "1"}, protocol.Incomplete},
		{bob, protocol.GroupRemove, ids("dan", "eve", "zoe"), nil, 0},
		{bob, protocol.GroupRemove, ids("dan"), nil, protocol.NotMember},
		{dan, protocol.GroupLeave, nil, nil, protocol.NotMember},
		{ann, protocol.GroupSetRole, nil, []string{"user", "bob", "role", "2"}, 0},
		{ann, protocol.GroupDissolve, nil, nil, no},
		{ann, protocol.GroupLeave, nil, nil, 0},
		{bob, protocol.GroupDissolve, nil, nil, 0},
		{bob, protocol.GroupInfo, nil, nil, protocol.NoSuchGroup},
	} {
		if got := may(c.who, c.op, c.ids, c.fields...); got != c.want {
			t.Errorf("rule P34: %s, operation %d with %v: %v, not %v", c.who.user, c.op, c.fields, got, c.want)
		}
	}
}

// Notices of a group go to those who are concerned.
func TestGroupNotices(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob, eve := w.logOn("ann"), w.logOn("bob"), w.logOn("eve")
	group := ann.create()
	bob.join(group)
	eve.join(group)
	in := "group " + group + " "
	ann.wantHeard("P34", in+"joined bob", in+"joined eve")
	bob.wantHeard("P34", in+"joined bob", in+"joined eve")
	eve.wantHeard("P34", in+"joined eve")
	ann.group(protocol.GroupMute, group, "user", "bob", "until-ms", inAnHour())
	ann.wantHeard("P34", in+"muted bob")
	bob.wantHeard("P34", in+"muted bob")
	eve.wantHeard("P34")
	ann.must(protocol.TypeGroup, protocol.GroupRemove, ids("bob"), "group", group)
	ann.wantHeard("P34", in+"removed bob")
	bob.wantHeard("P34", in+"removed bob")
	eve.wantHeard("P34")
	ann.group(protocol.GroupDissolve, group)
	eve.wantHeard("P34", in+"dissolved")
}

// P37: when Mute has been answered, no later message of the member has a number.
func TestMuteAgainstSend(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann := w.logOn("ann")
	group := groupID(ann.create())
	for range 100 {
		if _, err := w.chat.Join(t.Context(), group, "bob"); err != nil {
			t.Fatal(err)
		}
		var writers sync.WaitGroup
		var muted atomic.Bool
		for range 2 {
			writers.Go(func() {
				for {
					late := muted.Load()
					_, err := w.chat.Send(t.Context(), "bob", chat.ToGroup(group), 1, []byte("x"), chat.SendOptions{})
					if err == nil && late {
						t.Error("rule P37: a message was numbered after Mute was answered")
					}
					if err != nil {
						return
					}
				}
			})
		}
		if err := w.chat.Mute(t.Context(), "ann", group, "bob", time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		muted.Store(true)
		writers.Wait()
		if err := w.chat.Mute(t.Context(), "ann", group, "bob", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

// The author of an anonymous message can be banned without being named.
func TestAnAnonymousAuthorIsBannedUnnamed(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	group := ann.create("anonymous", "1")
	bob.join(group)
	bob.say(group, "ha", "anonymous", "1")
	ann.forget()
	bob.forget()
	ann.refused("P42", protocol.Incomplete, protocol.TypeGroup, protocol.GroupBan, nil, "group", group, "seq", "1", "remove", "1")
	ann.refused("P42", protocol.NoSuchMessage, protocol.TypeGroup, protocol.GroupBan, nil, "group", group, "seq", "2")
	ann.group(protocol.GroupBan, group, "seq", "1")
	ann.wantHeard("P31")
	bob.wantHeard("P31", "group "+group+" banned bob")
	bob.mayNotSay("P36", protocol.Banned, group)
	ann.group(protocol.GroupBan, group, "seq", "1", "on", "0")
	bob.say(group, "thanks")

	// An administrator is not told that the author is the owner, and a recall does not name its sender.
	ann.group(protocol.GroupSetRole, group, "user", "bob", "role", "1")
	n := fmt.Sprint(ann.say(group, "hm", "anonymous", "1"))
	ann.forget()
	bob.forget()
	bob.group(protocol.GroupBan, group, "seq", n)
	ann.wantHeard("P31")
	ann.refused("P31", protocol.Incomplete, protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", n)
	ann.must(protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", n, "anonymous", "1")
	bob.wantHeard("P31", fmt.Sprintf("%s#4 ?: (recalls %s)", group, n))
}

// Members are listed by pages; groups that are not open show themselves to members alone.
func TestMembersAndInfo(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob, eve := w.logOn("ann"), w.logOn("bob"), w.logOn("eve")
	group := ann.create("name", "climbing", "max", "50")
	bob.join(group)
	want := map[string]string{"group": group, "name": "climbing", "owner": "ann", "max": "50", "members": "2", "anonymous": "0", "muted": "0",
		"open": "1", "presence": "1", "role": "0", "last": "0"}
	if o := bob.group(protocol.GroupInfo, group); fmt.Sprint(o.Fields) != fmt.Sprint(want) {
		t.Errorf("rule P34: Info is answered %v, not %v", o.Fields, want)
	}
	var got []string
	for cursor := ""; ; {
		o := bob.group(protocol.GroupMembers, group, "limit", "1", "cursor", cursor)
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
	for _, m := range testkit.Must(protocol.ParseGroupMembers(eve.group(protocol.GroupMembers, group).Content)) {
		if m.State != protocol.PresenceOffline {
			t.Errorf("rule P25: a user who is not in the group sees %s %v", m.UserID, m.State)
		}
	}
	ann.group(protocol.GroupChange, group, "open", "0")
	eve.refused("P34", protocol.NotMember, protocol.TypeGroup, protocol.GroupMembers, nil, "group", group)
	eve.refused("P34", protocol.NotMember, protocol.TypeGroup, protocol.GroupInfo, nil, "group", group)
}

// A pair's number is no group's.
func TestAPairIsNoGroup(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	befriend(ann, bob)
	ann.say("bob", "private")
	all := testkit.Must(w.chat.Conversations(t.Context(), "ann", 0, 10))
	pair := fmt.Sprint(all[0].ID)
	eve := w.logOn("eve")
	for op := protocol.GroupChange; op < protocol.GroupNotice; op++ {
		content := []byte(nil)
		if op == protocol.GroupAdd || op == protocol.GroupRemove {
			content = ids("bob")
		}
		for _, p := range []*peer{ann, eve} {
			p.refused("P31", protocol.NoSuchGroup, protocol.TypeGroup, op, content, "group", pair, "user", "bob", "role", "1", "until-ms", "1")
		}
	}
	eve.refused("P31", protocol.NoSuchGroup, protocol.TypeChat, protocol.ChatHistory, nil, "group", pair)
	eve.mayNotSay("P36", protocol.NoSuchGroup, pair)
}
