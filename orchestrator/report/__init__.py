"""What a campaign, or several beside each other, came to: as Markdown for people and as data. docs/report.md."""
