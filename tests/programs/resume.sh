# Stopped, killed, resumed: the network is that of a run without a break.

make_set
make_mixed
expect "a run without a break" 0 "epoch *3/3" "$train" --data set $long --out whole
expect "stopped after a step" 0 "go on with\|Go on with" "$train" --data set $long --out stopped --limits.steps 41
report "... says where" "$(grep -q 'stopped at step 41 of 90 (--limits.steps)' out || cat out)"
report "... has the first epoch's numbers" "$(diff <(metrics whole | head -n 2) <(metrics stopped))"
expect "resumed" 0 "going on after step 41, in epoch 2" "$train" --resume stopped
compare "stopped and resumed" whole stopped
expect "resumed with nothing left to do" 0 "the run is over" "$train" --resume stopped
compare "... nothing changes" whole stopped
expect "--resume of another data set" 1 "these are not the data that stopped was trained on" "$train" --resume stopped --data mixed
"$train" --data set $long --out half --limits.steps 41 >out 2>err
expect "--resume with other patients held out" 1 "evaluated on patients that it was trained on" "$train" --resume half --validation 0.9
expect "--resume with other epochs" 1 "step 41 is not in epoch 2, of 10 steps" "$train" --resume half --train.steps 10
expect "--resume into another folder" 2 "in the run's own folder" "$train" --resume half --out elsewhere
rm half/best.safetensors
expect "--resume without the best network" 1 "best network, of epoch 1, is not there" "$train" --resume half
"$train" --data set $long --train.epochs 3000 --out signalled >out 2>err & pid=$!
for _ in $(seq 100); do grep -q 'epoch *1/' out && break; sleep 0.1; done
kill -TERM $pid; wait $pid
report "SIGTERM saves and says how to go on" "$([ $? = 143 ] && grep -q 'SIGTERM.*everything is saved' out || { echo "code $?"; tail -n 3 out; })"
expect "... and it does go on" 0 "stopped at step" "$train" --resume signalled --limits.minutes 0.001
"$train" --data set $long --train.epochs 3000 --out signalled2 >out 2>err & pid=$!
for _ in $(seq 100); do grep -q 'epoch *1/' out && break; sleep 0.1; done
"$train" --resume signalled2 >out2 2>err2
report "two programs in one run's folder" "$(grep -q 'another ./train is running in it' err2 || cat err2)"
kill -KILL $pid; wait $pid 2>/dev/null
touch signalled2/overlays/epoch_999.png.tmp-$pid # as where it was killed while it wrote
expect "... the one that was killed goes on, and clears away what it had half written" 0 "stopped at step" \
  "$train" --resume signalled2 --limits.minutes 0.001

# Killed again and again, a moment that differs from run to run after it has gone on, while it saves after every step.
touch killed.out
for delay in 0 0.02 0.05 0.1 0.15 0.2 0.3; do
  again="--resume killed"
  [ -s killed/last.safetensors ] || { rm -rf killed; again="--data set $long --limits.save_minutes 0 --out killed"; }
  before=$(grep -c 'going on after step' killed.out)
  "$train" $again >>killed.out 2>>killed.err & pid=$!
  while kill -0 $pid 2>/dev/null; do # until it is under way, however slow the machine is
    if [ "$again" = "--resume killed" ]; then [ "$(grep -c 'going on after step' killed.out)" = "$before" ] || break
    else [ ! -s killed/last.safetensors ] || break; fi
    sleep 0.02
  done
  sleep $delay; kill -KILL $pid 2>/dev/null; wait $pid 2>/dev/null
done
expect "kill -9, then --resume to the end" 0 "epoch *3/3\|mean over" "$train" $again
report "... it was killed on the way" "$([ "$(grep -c 'going on after step' killed.out)" -ge 2 ] || cat killed.out)"
compare "killed and resumed" whole killed
