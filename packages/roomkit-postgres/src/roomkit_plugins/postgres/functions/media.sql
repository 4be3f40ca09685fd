-- Which events refer to which files.

CREATE OR REPLACE FUNCTION roomkit_register_media(of_room text, media_ids text[], until timestamptz)
RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO roomkit_media (id, room_id, unused_at)
    SELECT g.id, of_room, until FROM unnest(media_ids) AS g (id) ORDER BY g.id ON CONFLICT DO NOTHING;
    RETURN 'true';
END
$$;

CREATE OR REPLACE FUNCTION roomkit_forget_media(media_ids text[])
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    count bigint;
BEGIN
    DELETE FROM roomkit_media WHERE id = ANY(ARRAY(
        SELECT m.id FROM roomkit_media m WHERE m.id = ANY(media_ids) AND m.unused_at IS NOT NULL
        ORDER BY m.id FOR UPDATE
    ));
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN to_json(count);
END
$$;
