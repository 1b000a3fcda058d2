# What a mail system does with every message: mailing lists go into a folder, spam goes into Junk.
require ["fileinto", "mailbox"];

if header :contains "Subject" "[filtered]" {
  fileinto :create "Filtered";
} elsif header :is "X-Spam-Flag" "YES" {
  fileinto :create "Junk";
}
