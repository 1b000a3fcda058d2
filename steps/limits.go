package steps

import (
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/procfs"
)

func init() { RegisterSettings("limits", func() Block { return &limitsBlock{} }) }

// Limits are the bounds of runs that are no single subject's.
type Limits struct {
	Memory int64       // bytes of one run; zero means limit.RunMemory
	All    *limit.Pool // of all runs together; nil means no limit
}

// limitsBlock is the block "limits" of stepwatch.yml.
type limitsBlock struct {
	Memory string `yaml:"memory" doc:"that one run may hold of what it reads; default: 64 MB"`
	Total  string `yaml:"total_memory" doc:"that all runs together may hold; default: a quarter of the memory of the machine or cgroup"`
}

// Validate implements Block.
func (b *limitsBlock) Validate(env *Env) {
	known := Limits{Memory: env.Size("memory", b.Memory)}
	total := env.Size("total_memory", b.Total)
	if total == 0 {
		total = max(procfs.Usable()/4, limit.RunMemory.With(known.Memory).Most)
	}
	if one := limit.RunMemory.With(known.Memory).Most; total < one {
		env.Refuse("total_memory", "is less than limits.memory, which is %d bytes", one)
	}
	known.All = limit.NewPool(total)
	env.Target.Set(known)
}
