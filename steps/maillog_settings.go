package steps

import "github.com/stepwatch/stepwatch/steps/maillog"

func init() { RegisterHostSettings("log", func() Block { return new(Log) }) }

// Log says where to read the log of a host's mail server. Exactly one field is set.
type Log struct {
	File    string   `yaml:"file" doc:"path of the current log file; rotated files are found next to it"`
	Journal []string `yaml:"journal" doc:"systemd units, read with journalctl: [postfix@-.service]"`
}

// Validate implements Block.
func (l *Log) Validate(env *Env) {
	if !OneOf(l.File != "", len(l.Journal) > 0) {
		env.Refuse("", "needs exactly one of file or journal")
	}
	l.File = env.File(l.File)
	env.Host.Set(l)
}

// logOf returns a host's log with its state directory.
func logOf(t *Target, h *Host) (maillog.Log, error) {
	l := PartOf[*Log](h)
	if l == nil {
		return maillog.Log{}, h.Missing("log")
	}
	return maillog.Log{File: l.File, Journal: l.Journal, State: t.StateDir}, nil
}
