-- Passes every study on to Segnode once nothing more has come for it, in one association. Segnode knows its own
-- results when they come along, and starts no work on them.
function OnStableStudy(study, tags, metadata)
  local job = { Resources = { study }, Synchronous = false }
  RestApiPost('/modalities/segnode/store', DumpJson(job))
end
