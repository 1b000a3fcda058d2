package steps

// ForgetKind undoes RegisterKind, so that what one test registers is unknown to the others.
func ForgetKind(name string) { delete(kinds, name) }
