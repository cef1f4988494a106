-- What came beside the bytes of a phone's report and is needed to read them again, as JSON. Null: nothing is, or the letter is older than this column;
-- an older one that came by a phone's protocol cannot be read again.
ALTER TABLE letters ADD COLUMN postmark TEXT;
