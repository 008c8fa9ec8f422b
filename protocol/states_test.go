package protocol_test

import (
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// States and roles are printed in words, and numbers that are none as numbers.
func TestStatesAndRolesInWords(t *testing.T) {
	for v, want := range map[fmt.Stringer]string{
		protocol.ContactAskedByMe: "asked by me", protocol.ContactAsksMe: "asks me", protocol.ContactFriend: "friend", protocol.ContactBlocked: "blocked",
		protocol.ContactBlocked | protocol.ContactAskedByMe: "blocked, asked by me", protocol.ContactBlocked | protocol.ContactAsksMe: "blocked, asks me",
		protocol.ContactState(0): "state 0", protocol.ContactState(3): "state 3", protocol.ContactState(12): "state 12", protocol.ContactState(16): "state 16",
		protocol.RoleMember: "member", protocol.RoleAdministrator: "administrator", protocol.RoleOwner: "owner", protocol.GroupRole(3): "role 3",
		protocol.PresenceOnline: "online", protocol.PresenceOffline: "offline", protocol.PresenceBusy: "busy", protocol.PresenceStealth: "stealth",
		protocol.PresenceState(4): "state 4",
	} {
		if got := v.String(); got != want {
			t.Errorf("%T is %q, want %q", v, got, want)
		}
	}
}
