-- What ingestions have put into tiles, so that the next run may pass them over. It saves work and
-- promises nothing: it is in no journal, and a registry that was made again has none.
--
-- a:<array>:i: hash ordinal -> note, which the client packs; goes with the array

-- ingested: ARGV array id, collection id or "", ordinals...
-- Returns {"ok", {note or nil, ...}} | {"gone"}
reading('ingested', function(p, args)
  if not alive(p, args[1], args[2]) then
    return {'gone'}
  end
  return {'ok', values_of(p .. 'a:' .. args[1] .. ':i', args, 3)}
end)

-- note_ingested: ARGV array id, collection id or "", ordinal, note, ordinal, note, ...
-- Returns {"ok"} | {"gone"}. A request that arrives late brings an old note back: it names a version
-- that the tile no longer has, so that it is no more than a tile that is done again.
repeatable('note_ingested', function(p, args)
  if not alive(p, args[1], args[2]) then
    return {'gone'}
  end
  local notes = {}
  for i = 3, #args do
    notes[i - 2] = args[i]
  end
  sliced('HSET', p .. 'a:' .. args[1] .. ':i', notes)
  return {'ok'}
end)
