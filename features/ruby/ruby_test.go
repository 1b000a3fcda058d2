package ruby_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stepwatch/stepwatch/features/ruby"
)

func TestParse(t *testing.T) {
	text := `# Given /^a comment$/ do
Given /^the status should show "([^"]*)"$/ do |status|
  Then %Q{nothing "#{x}"}
end
When(/^I log in as (\w+) (?:at|on) (.*) within (\d+) s(?:econds)?$/i) { |a, b| }
Then %r{^/var/log is (.+)$} do |x|
end
  And "the moon is full" do
Before('@slow') do
But 'it isn\'t' do
def When(x) do
`
	got := ruby.Parse(text)
	want := []ruby.Definition{
		{Line: 2, Pattern: `^the status should show "([^"]*)"$`},
		{Line: 5, Pattern: `^I log in as (\w+) (?:at|on) (.*) within (\d+) s(?:econds)?$`},
		{Line: 6, Pattern: `^/var/log is (.+)$`},
		{Line: 8, Pattern: "the moon is full", Text: true},
		{Line: 9, Hook: "Before"},
		{Line: 10, Pattern: `it isn\'t`, Text: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for i, want := range map[int]string{0: `the status should show "<text>"`, 1: "I log in as <word:word> at <text> within <number:int> s[econds]", 2: "/var/log is <text>", 3: "the moon is full"} {
		if sentence := got[i].Sentence(); sentence != want {
			t.Errorf("%s: got %s, want %s", got[i].Pattern, sentence, want)
		}
	}
	if s := (ruby.Definition{Pattern: `^I \"(.*)\" and "([^\"]*)"$`}).Sentence(); s != `I "<text>" and "<text 2>"` {
		t.Errorf("got %s", s)
	}
}

func TestBeside(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for _, name := range []string{"features/shop/steps/a_steps.rb", "features/steps/b.rb", "features/support/env.rb", "features/other/steps/c.rb", "support/d.rb", "features/steps/own.feature"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if len(want) < 3 {
			want = append(want, path)
		}
	}
	got, err := ruby.Beside(filepath.Join(dir, "features/shop/shop.feature"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := ruby.Beside("shop.feature"); err != nil || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Given /^a (\\w+) (?:b)? \\\"([^\"]*)\\\"$/ do |x|\nAnd 'x' do\nBefore { }")
	f.Fuzz(func(_ *testing.T, text string) {
		for _, d := range ruby.Parse(text) {
			_ = d.Sentence()
		}
	})
}
