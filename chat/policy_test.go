package chat_test

import (
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/protocol"
)

// combinations calls try with each combination of so many choices of so many values each.
func combinations(values []int, try func(choice []int)) (n int) {
	choice := make([]int, len(values))
	for {
		try(choice)
		n++
		i := 0
		for ; i < len(values); i++ {
			if choice[i]++; choice[i] < values[i] {
				break
			}
			choice[i] = 0
		}
		if i == len(values) {
			return n
		}
	}
}

// refusal is a line of a rule: the code, and whether it applies.
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

var postTime = time.UnixMilli(1_800_000_000_000).UTC()

// P36, A5: every combination of what sending to a group depends on, against the rule's own order.
func TestEveryPostToAGroup(t *testing.T) {
	n := combinations([]int{2, 2, 2, 2, 3, 3, 2, 2, 2}, func(c []int) {
		sends, exists, in, banned, anonymous := c[0] == 1, c[1] == 1, c[2] == 1, c[3] == 1, c[6] == 1
		role, allMuted, takesAnonymous := chat.Role(c[4]), c[7] == 1, c[8] == 1
		until := []time.Time{{}, postTime, postTime.Add(time.Millisecond)}[c[5]]
		p := &chat.Post{Group: 7, From: "ann", Anonymous: anonymous, Time: postTime}
		s := &chat.Standing{From: chat.User{UserID: "ann", Exists: true, Settings: chat.Settings{Send: sends}},
			Member: chat.Member{UserID: "ann", In: in, Role: role, MutedUntil: until}}
		if banned {
			s.Member.BannedBy = "bob"
		}
		if exists {
			s.Group = &chat.Group{ID: 7, Muted: allMuted, Anonymous: takesAnonymous}
		}
		want := first(
			refusal{protocol.SendingOff, !sends},
			refusal{protocol.NoSuchGroup, !exists},
			refusal{protocol.Banned, banned},
			refusal{protocol.NotMember, !in},
			refusal{protocol.MemberMuted, until.After(postTime)},
			refusal{protocol.GroupMuted, allMuted && role == protocol.RoleMember},
			refusal{protocol.GroupNoAnonymous, anonymous && !takesAnonymous},
		)
		if got := chattest.CodeOf(chat.Allow(false, time.Minute, p, s)); got != want {
			t.Errorf("rule P36: %+v with %+v: %v, not %v", *p, *s, got, want)
		}
		p.From = chat.Server
		if got := chattest.CodeOf(chat.Allow(false, time.Minute, p, s)); (got == 0) != exists || got != 0 && got != protocol.NoSuchGroup {
			t.Errorf("rule P36: the program: %v", got)
		}
	})
	if n != 1152 {
		t.Errorf("rule P36: %d combinations were tried, not 1,152", n)
	}
}

// P38, A6: every combination of what writing to a user depends on, against the rule's own order.
func TestEveryPostToAUser(t *testing.T) {
	states := []chat.ContactState{0, chat.AskedByMe, chat.AsksMe, chat.Friend}
	n := combinations([]int{2, 2, 2, 2, 2, 2, 2, 2, len(states)}, func(c []int) {
		sends, exists, blocked, blockedAnonymous, receives, anonymous, takesAnonymous, strangers := c[0] == 1, c[1] == 1, c[2] == 1, c[3] == 1, c[4] == 1, c[5] == 1,
			c[6] == 1, c[7] == 1
		p := &chat.Post{To: "bob", From: "ann", Anonymous: anonymous, Time: postTime}
		s := &chat.Standing{From: chat.User{UserID: "ann", Exists: true, Settings: chat.Settings{Send: sends}},
			To:      chat.User{UserID: "bob", Exists: exists, Settings: chat.Settings{Receive: receives, Anonymous: takesAnonymous}},
			Contact: chat.Contact{UserID: "bob", State: states[c[8]], BlockedBy: blocked, BlockedByAnonymous: blockedAnonymous}}
		want := first(
			refusal{protocol.SendingOff, !sends},
			refusal{protocol.NoSuchUser, !exists},
			refusal{protocol.Blocked, blocked || blockedAnonymous && anonymous},
			refusal{protocol.ReceivingOff, !receives},
			refusal{protocol.UserNoAnonymous, anonymous && !takesAnonymous},
			refusal{protocol.NotFriends, !anonymous && states[c[8]] != chat.Friend && !strangers},
		)
		if got := chattest.CodeOf(chat.Allow(strangers, time.Minute, p, s)); got != want {
			t.Errorf("rule P38: %+v with %+v: %v, not %v", *p, *s, got, want)
		}
	})
	if n != 1024 {
		t.Errorf("rule P38: %d combinations were tried, not 1,024", n)
	}
}

// P32: every combination of what a recall depends on.
func TestEveryRecall(t *testing.T) {
	combinations([]int{2, 2, 2, 2, 2, 2, 2, 3, 2, 2, 2}, func(c []int) {
		anonymous, wasAnonymous := c[9] == 1, c[10] == 1
		group, exists, in, found, isRecall, mine, recalled, server := c[0] == 1, c[1] == 1, c[2] == 1, c[3] == 1, c[4] == 1, c[5] == 1, c[6] == 1, c[8] == 1
		age := []time.Duration{0, time.Minute, time.Minute + time.Millisecond}[c[7]]
		p := &chat.Post{To: "bob", From: "ann", Recalls: 3, Anonymous: anonymous, Time: postTime}
		if server {
			p.From = chat.Server
		}
		s := &chat.Standing{From: chat.User{UserID: "ann"}, Member: chat.Member{In: in, MutedUntil: postTime.Add(time.Hour)}} // a mute does not prevent it
		if group {
			if p.Group, p.To = 7, ""; exists {
				s.Group = &chat.Group{ID: 7, Muted: true}
			}
		}
		if found {
			s.Message = &chat.Message{Seq: 3, From: "eve", Anonymous: wasAnonymous, Recalled: recalled, Time: postTime.Add(-age)}
			if mine {
				s.Message.From = "ann"
			}
			if isRecall {
				s.Message.Recalls = 2
			}
		}
		want := first(
			refusal{protocol.NoSuchGroup, group && !exists},
			refusal{protocol.NotMember, group && !in && !server},
			refusal{protocol.NoSuchMessage, !found || isRecall},
			refusal{0, server},
			refusal{protocol.NotYours, !mine},
			refusal{protocol.Incomplete, anonymous != wasAnonymous},
			refusal{0, recalled},
			refusal{protocol.RecallExpired, age > time.Minute},
		)
		if got := chattest.CodeOf(chat.Allow(false, time.Minute, p, s)); got != want {
			t.Errorf("rule P32: %+v with %+v: %v, not %v", *p, *s, got, want)
		}
	})
}
