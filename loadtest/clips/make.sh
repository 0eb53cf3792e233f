#!/usr/bin/env bash
# Makes the clips that simulated points play. Needs ffmpeg (libvpx, libopus, drawtext) and espeak-ng. Run it by hand
# when the clips shall change; the results are committed, so that a load test needs neither program.
#
# Pictures: one group of 60 frames (4 s at 15 frames/s) per layer. Only the first frame is a key frame, so that a point
# sends key frames when it is asked to (or its loop starts again), as a camera does. Colours and movement fill the
# picture; the frame's number, the layer's name and the seconds are readable in it.
# Sound: 8 s of Vietnamese speech, 20 ms a packet, 24 kbit/s.
set -euo pipefail
cd "$(dirname "$0")"

picture() { # name width height kbit/s
  local font=$(($3 / 6))
  ffmpeg -v error -y -f lavfi -i "testsrc2=size=$2x$3:rate=15:duration=4" \
    -vf "drawtext=text='$1 %{frame_num}':x=(w-tw)/2:y=h/2-th/2:fontsize=$font:fontcolor=white:box=1:boxcolor=black@0.7:boxborderw=8" \
    -pix_fmt yuv420p -c:v libvpx -b:v "$4k" -minrate "$4k" -maxrate "$4k" -bufsize "$(($4 / 2))k" \
    -deadline good -cpu-used 0 -auto-alt-ref 0 -lag-in-frames 0 -g 60 -keyint_min 60 -sc_threshold 0 \
    -error-resilient 0 -fflags +bitexact -flags:v +bitexact "$1.ivf"
}

picture 180p 320 180 100
picture 360p 640 360 350
picture 720p 1280 720 900

# The last second is silence: points that do not speak play that part.
espeak-ng -v vi -s 170 -w speech.wav \
  "Kính thưa các đồng chí, điểm cầu trung tâm nghe rõ. Xin mời các điểm cầu cấp xã báo cáo tình hình. Hình ảnh và âm thanh đều tốt."
ffmpeg -v error -y -i speech.wav -af "atrim=0:7,apad=whole_dur=8,atrim=0:8" -ar 48000 -ac 1 padded.wav
ffmpeg -v error -y -i padded.wav -c:a libopus -b:a 24k -vbr off \
  -frame_duration 20 -application voip -map_metadata -1 -fflags +bitexact -flags:a +bitexact speech.ogg
# One number a packet: its level in -dBov (RFC 6464: 0 loud, 127 silence).
ffmpeg -v error -i padded.wav -af "asetnsamples=960,astats=metadata=1:reset=1,ametadata=print:key=lavfi.astats.Overall.RMS_level:file=-" \
  -f null - | sed -n 's/^lavfi.astats.Overall.RMS_level=//p' |
  awk '{ v = ($1 == "-inf") ? 127 : int(0.5 - $1); if (v > 127) v = 127; if (v < 0) v = 0; print v }' >speech.levels
rm speech.wav padded.wav
