package mail

import (
	"context"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/steps/imapclient"
)

// namespaces returns where the account's folders are, at least one. It asks once per connection (NAMESPACE, RFC 2342). Without
// that, folders below the INBOX show the prefix.
func (m *mailbox) namespaces(ctx context.Context) ([]imapclient.Namespace, error) {
	if m.own != nil {
		return m.own, nil
	}
	own, err := m.client.Namespace(ctx)
	if err != nil && !isRefusal(err) {
		return nil, m.failure(ctx, err)
	}
	if len(own) == 0 {
		list, _, err := m.client.List(ctx, false)
		if err != nil {
			return nil, m.failure(ctx, err)
		}
		own = []imapclient.Namespace{{}}
		for _, f := range list {
			own[0].Delimiter = f.Delimiter
			if prefix := inbox + f.Delimiter; f.Delimiter != "" && len(f.Name) > len(prefix) && strings.EqualFold(f.Name[:len(prefix)], prefix) {
				own[0].Prefix = f.Name[:len(prefix)]
				break
			}
		}
	}
	m.own = own
	return own, nil
}

// namesOf returns the names that a folder of the scenario may have on the server: as it is written, and below each prefix of the
// account's folders, with the server's delimiter in the place of "/".
func (m *mailbox) namesOf(ctx context.Context, folder string) (names []string, err error) {
	if strings.EqualFold(folder, inbox) {
		return []string{inbox}, nil
	}
	own, err := m.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add(folder)
	for _, space := range own {
		name := folder
		if d := space.Delimiter; d != "" && d != "/" && !strings.Contains(name, d) {
			name = strings.ReplaceAll(name, "/", d)
		}
		if !strings.HasPrefix(strings.ToUpper(name), strings.ToUpper(space.Prefix)) {
			name = space.Prefix + name
		}
		add(name)
	}
	return names, nil
}
