# Is there space left? A mail server with a full disk defers all mail (452). A server without free inodes does the same
# with half its disk free, because a mailbox has a file for each message.
#
# Needs nothing in stepwatch.yml, but must run on the machine itself. Name your own disks: those of the queue, the
# mailboxes and the logs. Two paths on the same disk only raise the same alert twice.
@every:5m
Feature: Disk

  Scenario Outline: There is room in <path>
    Then the disk of "<path>" is less than 80% full

    Examples:
      | path       |
      | /var/spool |
      | /var/log   |

  Scenario Outline: There is room for more files in <path>
    Then the disk of "<path>" has used less than 80% of its inodes

    Examples:
      | path       |
      | /var/spool |
